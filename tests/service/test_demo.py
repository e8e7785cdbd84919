"""`trocar serve` as `make demo` starts it: the real process, the real model, a real browser."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.method.profile import load_profile
from models.phantom import PhantomFrame
from models.types import UInt8Array
from service.live.phantom_source import PhantomScenes, PhantomUrl
from streaming.mark import CELL, COLUMNS, ROWS, read_mark
from tests.support.browser import open_page
from tests.support.clips import write_clip
from tests.support.tint import iou, tinted

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "phantom://?mark=1"
FRAMES = 100


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service.commands.main", "serve", "--port", "0", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def address(process: subprocess.Popen[str]) -> str:
    """The two lines that the demo says."""
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    assert first.startswith("Trocar shows")
    found = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+)\n", second)
    assert found, second
    return found.group(1)


def stop(process: subprocess.Popen[str]) -> tuple[float, str]:
    """SIGTERM; seconds until it is gone, and what it said on stderr."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    return time.monotonic() - began, err


@pytest.fixture
def demo() -> Iterator[str]:
    process = start("--source", SOURCE)
    try:
        yield address(process)
    finally:
        stop(process)


@pytest.mark.alone
@pytest.mark.browser
async def test_coloured_pixels_lie_on_the_instruments(demo: str, chromium: str) -> None:
    """Moving video with masks: mean IoU with the phantom's truth at least 0.6 over 100 frames."""
    scenes, shown = PhantomScenes(PhantomUrl.parse(SOURCE)), {}
    async with open_page(chromium, f"{demo}/display/main") as browser:
        await browser.playing()
        end = time.monotonic() + 120
        while len(shown) < FRAMES:
            assert time.monotonic() < end, f"{len(shown)} different frames in two minutes"
            image = await browser.grab()
            number = read_mark(image)
            if number is not None:
                shown[number] = image
            await asyncio.sleep(0.05)
        assert browser.console == []
    overlaps = []
    for number, image in shown.items():
        truth = scenes.frame(number)
        overlaps.append(overlap(image, truth))
    visible = [value for value in overlaps if value is not None]
    print(f"mean IoU {np.mean(visible):.3f} over {len(visible)} frames")
    assert np.mean(visible) >= 0.6


def overlap(image: UInt8Array, truth: PhantomFrame) -> float | None:
    """IoU of the coloured pixels with the instruments, outside the frame's mark.

    A frame shown without masks counts, as zero.
    """
    coloured = tinted(image, truth.image_rgb, load_profile("phantom").classes)
    instruments = truth.class_mask > 0
    mark = slice(image.shape[0] - ROWS * CELL - 8, None), slice(0, COLUMNS * CELL + 8)
    coloured[mark] = instruments[mark] = False
    return iou(coloured, instruments)


@pytest.mark.alone
def test_stops_within_five_seconds_and_leaves_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=30, size=(240, 320))
    process = start("--source", str(clip))
    address(process)
    seconds, err = stop(process)
    assert seconds < 5
    assert "Traceback" not in err
    assert "leaked" not in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--source", "none.mp4"), "found no file none.mp4"),
        (("--source", "http://x/y.mp4"), "got a http:// URL"),
        (("--source", "phantom://?color=3"), "seed, size, fps and mark, got color"),
        (("--source", "phantom://?size=9x9"), "64 to 1920"),
        (("--host", "0.0.0.0"), "expected a token to serve on 0.0.0.0: set TROCAR_TOKEN"),
        (("--profile", "none.safetensors"), "found no file"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments: tuple[str, ...], expected: str) -> None:
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err.startswith("trocar: error: ")
    assert expected in err
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "service.commands.main", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=90)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("trocar: error: cannot serve on 127.0.0.1")
    assert "Traceback" not in done.stderr
