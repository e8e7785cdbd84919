"""The long run judges minutes: what grows in time or in memory is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from benchmarks.live.remote_viewers import Seen
from benchmarks.live.steady import (
    Minute,
    SteadyConfig,
    growth,
    is_steady,
    measure_steady,
    minute_row,
    run_steady,
    share_seen,
)
from streaming.mark import WRAP


def row(p95: float = 47.0, server: float = 400.0, model: float = 600.0) -> dict[str, Any]:
    return {"p50": 41.0, "p95": p95, "rss_mib": {"server": server, "model": model}}


@pytest.mark.parametrize(
    ("last", "steady"),
    [
        (row(p95=54.0), True),
        (row(p95=54.1), False),
        (row(server=420.0), True),
        (row(server=420.2), False),
        (row(model=631.0), False),
    ],
)
def test_growth_from_the_second_minute_to_the_last_is_judged(
    last: dict[str, Any], steady: bool
) -> None:
    warming_up = row(p95=500.0, server=100.0)
    assert is_steady(growth([warming_up, row(), row(p95=90.0), last])) is steady


@pytest.mark.parametrize(("lost", "steady"), [(15, True), (16, False)])
def test_frames_that_nobody_saw_are_judged(lost: int, steady: bool) -> None:
    minutes = [{"frames_captured": 750, "frames_not_seen": one} for one in (lost - 1, 1)]
    assert is_steady(growth([row(), row()]), share_seen(minutes)) is steady


def test_a_frame_counts_in_the_minute_of_its_capture() -> None:
    captured_ns = {number: number * 1_000_000_000 for number in range(10)}
    seen = Seen([(number, captured_ns[number] + 5_000_000) for number in (3, 4, 6, 7)])
    found = minute_row(Minute(4_000_000_000, 7_000_000_000, {}), seen, captured_ns)
    assert (found["n"], found["p50"], found["max"]) == (2, 5, 5)
    assert (found["frames_captured"], found["frames_not_seen"]) == (3, 1)


@pytest.mark.parametrize("hours", [0, 1, 3])
def test_a_frame_is_found_where_the_numbers_in_the_pictures_have_wrapped(hours: int) -> None:
    first = hours * 90_000
    captured_ns = {index: index * 40_000_000 for index in range(first + 1000)}
    shown = range(first + 100, first + 900)
    seen = Seen([(index % WRAP, captured_ns[index] + 5_000_000) for index in shown])
    assert [index for index, _ in seen.frames(captured_ns)] == list(shown)
    minute = Minute(captured_ns[first + 200], captured_ns[first + 300], {})
    found = minute_row(minute, seen, captured_ns)
    assert (found["n"], found["max"], found["frames_not_seen"]) == (100, 5, 0)


def test_a_minute_without_a_picture_is_not_steady_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captured_ns = {number: number * 1_000_000_000 for number in range(10)}
    seen = Seen([(number, captured_ns[number] + 5_000_000) for number in range(6)])
    memory = {"server": 400.0, "model": 600.0}
    minutes = [Minute(first * 10**9, (first + 3) * 10**9, memory) for first in (0, 3, 6)]
    rows = [minute_row(minute, seen, captured_ns) for minute in minutes]
    grown = growth(rows)
    assert not is_steady(grown)

    async def measured(_: SteadyConfig) -> dict[str, Any]:
        return {"minutes": rows, "last_over_second": grown, "steady": is_steady(grown)}

    monkeypatch.setattr("benchmarks.live.steady.measure_steady", measured)
    assert run_steady(SteadyConfig(), tmp_path / "steady.json") == 1
    last = capsys.readouterr().out.splitlines()[3].split()
    assert last[:6] == ["3", "-", "-", "-", "-", "3"]
    assert (tmp_path / "steady.json").exists()


def test_a_session_is_watched_minute_by_minute() -> None:
    config = SteadyConfig(minutes=2, minute_s=1.5, warm_up_s=2, size=(240, 320), fps=10)
    content = asyncio.run(measure_steady(config))
    assert len(content["minutes"]) == 2
    for found in content["minutes"]:
        assert 5 <= found["n"] <= found["frames_captured"] <= 16
        assert all(megabytes > 50 for megabytes in found["rss_mib"].values())
    assert content["model_starts"] == 1
    assert set(content["last_over_second"]) >= {"p95_ms", "server_rss", "model_rss"}
