"""What a live stream's status says of its pictures."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from streaming.sources import open_source
from tests.support.rtsp_server import RtspServer


@pytest.mark.parametrize(("size", "matrix"), [("320x240", "BT.601"), ("640x592", "BT.709")])
def test_a_camera_that_states_no_colour_is_taken_by_its_size(
    tmp_path: Path, size: str, matrix: str
) -> None:
    assert shutil.which("ffmpeg"), "ffmpeg is not installed: `make tools` says how"
    server = RtspServer(tmp_path, size=size)
    try:
        source = open_source(server.url, deinterlace="on")
        before = source.taken_as().status()
        frames = list(itertools.islice(source, 5))
        source.close()
    finally:
        server.stop()
    assert before == {"colour": None, "deinterlaced": None}
    assert len(frames) == 5
    status = source.taken_as().status()
    assert status["colour"]["matrix"] == matrix
    assert "matrix" in status["colour"]["assumed"]
    assert status["deinterlaced"] == "asked"
