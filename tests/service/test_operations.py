"""What whoever runs the service sees: logs, numbers, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from service.http.metrics import DEGRADED
from service.log import SESSION, JsonLines, TextLines
from tests.service.test_sessions import OTHER, app_with
from tests.service.test_whip_whep import player
from tests.streaming.test_recorder import read
from tests.support.asking import ask
from tests.support.clips import write_clip
from tests.support.live_service import serving
from tests.support.scripted_service import frames

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_a_log_tells_kind_and_place_of_an_error_and_not_what_it_says(
    formatter: logging.Formatter,
) -> None:
    try:
        raise OSError("rtsp://surgeon:secret@host/patient.mp4")
    except OSError:
        record = logging.getLogger("service.x").makeRecord(
            "service.x", logging.ERROR, __file__, 1, "no picture\nsecret", (), sys.exc_info()
        )
    named = SESSION.set("abc")
    try:
        line = formatter.format(record)
    finally:
        SESSION.reset(named)
    assert "secret" not in line
    assert "patient" not in line
    for told in ("abc", "no picture", "OSError", "test_operations.py"):
        assert told in line


async def test_numbers_tell_the_sessions_apart_and_name_nobody() -> None:
    async with serving(app_with({"die_at": (30,), "open_s": 1.0})) as server:
        opened = await ask("POST", f"{server.url}/api/sessions", {"source": OTHER, "name": "Smith"})
        second = opened.json["id"]
        async with server.viewer() as viewer:
            await frames(viewer, 20)
            await server.until("AI OFF")
            reply = await ask("GET", f"{server.url}/metrics")
    text = reply.body.decode()
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert lines["trocar_sessions"] == "2.0"
    assert float(lines['trocar_frames_total{outcome="masked",session="main"}']) >= 10
    assert float(lines['trocar_frames_total{outcome="plain",session="main"}']) >= 1
    assert lines['trocar_degraded{reason="model_off",session="main"}'] == "1.0"
    assert lines['trocar_degraded{reason="source_lost",session="main"}'] == "0.0"
    for stage in ("model", "capture_to_send", "capture_to_send_plain"):
        counted = f'trocar_stage_seconds_count{{session="main",stage="{stage}"}}'
        assert float(lines[counted]) >= 10, stage
    assert f'trocar_viewers{{session="{second}"}}' in lines
    assert "Smith" not in text
    assert len({line for line in text.splitlines() if line.startswith("# TYPE")}) == len(
        [line for line in text.splitlines() if line.startswith("# TYPE")]
    ), "each family once"


def test_what_a_badge_lacks_is_known_for_every_badge_but_those_of_a_good_picture() -> None:
    good = {"LIVE", "DEMO", "RECORDING", "RECORDING ENDED", "STARTING"}
    badges = {badge.value for badge in type(next(iter(DEGRADED)))}
    assert badges - {badge.value for badge in DEGRADED} == good


async def started(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """`trocar serve` and the address it says."""
    command = ("-m", "service.commands.main", "serve", "--port", "0", "--log", "json", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=pipe, stderr=pipe, cwd=ROOT
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 120)
    assert line.startswith(b"Open http://"), line
    return process, line.decode().split()[1]


def recorded(root: Path) -> int:
    """Pictures in the only recording, whose files are whole."""
    (folder,) = root.iterdir()
    assert not any(file.stat().st_size == 0 for file in folder.iterdir())
    return len(read(folder / "video.mp4", "rgb24"))


async def test_sigterm_during_a_stream(tmp_path: Path) -> None:
    """Viewers are told, files are finished, the end comes within five seconds; logs name nobody."""
    clip = write_clip(tmp_path / "Smith.mp4", frames=40, size=(240, 320))
    files = ("--media", str(tmp_path), "--record", str(tmp_path / "recorded"))
    process, url = await started("--source", str(clip), *files)
    try:
        secret = "rtsp://surgeon:secret@127.0.0.1:1/x"
        refused = await ask("POST", f"{url}/api/sessions", {"source": secret, "name": "Smith"})
        assert refused.code == 403
        async with player(f"{url}/whep/main") as whep:
            assert (await whep.play()).code == 201
            await whep.picture()
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(whep.closed.wait(), 10)
            _, err = await asyncio.wait_for(process.communicate(), 20)
            assert time.monotonic() - began < 5
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = [json.loads(line) for line in err.decode().splitlines()]
    told = [line["message"] for line in lines if line.get("session") == "main"]
    assert told[:3] == ["recording started", "session opened", "viewer admitted"]
    assert "stopped" in [line["message"] for line in lines]
    assert recorded(tmp_path / "recorded") > 0
    for name in (b"Smith", b"secret", b"surgeon", os.fsencode(tmp_path)):
        assert name not in err


async def test_what_hangs_does_not_hold_the_end_up(tmp_path: Path) -> None:
    """A model that is being started when the service is told to stop."""
    process, url = await started("--source", "phantom://?size=160x120&fps=5", "--capacity", "64")
    opening = asyncio.create_task(ask("POST", f"{url}/api/sessions", {"source": OTHER}))
    try:
        await asyncio.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 20)
        assert time.monotonic() - began < 5
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.gather(opening, return_exceptions=True)
