"""A mask is only ever seen on its own frame: burnt in, or matched by the message's timestamp."""

from __future__ import annotations

import pytest

from benchmarks.live.composed import look_in_browser
from benchmarks.live.exactness import BROWSER_FPS, LOSS, segment, signing_session
from benchmarks.quality.signed import (
    SigningModel,
    mask_in_picture,
    number_of_mask,
    numbered_phantoms,
)
from service.commands.main import main
from streaming.mark import read_mark
from streaming.overlay import draw_overlay

FRAMES, PATIENCE_S = 150, 60


@pytest.mark.parametrize("loss", [0.0, LOSS])
async def test_a_burnt_in_mask_is_that_of_its_frame(loss: float) -> None:
    async with signing_session((240, 320)) as session:
        looking = await segment(session, "overlay", loss, FRAMES, PATIENCE_S)
        assert session.status().renditions["plain"].encoded == 0, "nobody watched it"
    marks, masks = zip(*looking.pairs, strict=True)
    assert marks == masks
    assert list(marks) == sorted(set(marks)), "time only goes forward"
    assert len(marks) > 0.8 * FRAMES, "most pictures are intact and have a mask"


async def test_after_a_gap_no_picture_is_of_two_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every packet that is lost is given up, as where asking for it again takes too long."""
    monkeypatch.setattr("streaming.receiving.HELD", 0)
    async with signing_session((240, 320)) as session:
        looking = await segment(session, "overlay", 2 * LOSS, FRAMES // 2, PATIENCE_S)
    assert all(mark == mask for mark, mask in looking.pairs)
    assert looking.bare < 10, "hardly a picture that cannot be read"


@pytest.mark.parametrize("loss", [0.0, LOSS])
async def test_a_message_names_the_frame_it_belongs_to(loss: float) -> None:
    async with signing_session((240, 320)) as session:
        looking = await segment(session, "plain", loss, FRAMES, PATIENCE_S)
        status = session.status()
    marks, masks = zip(*looking.pairs, strict=True)
    assert marks == masks
    assert len(set(marks)) == len(marks) > 0.6 * FRAMES
    assert status.renditions["overlay"].encoded == 0, "nobody watched it"
    assert status.masks_skipped <= 3, "at most until the first picture was out"


def test_numbers_are_read_back_from_phantoms_under_their_masks() -> None:
    render = numbered_phantoms((240, 320))
    for number in (0, 1, 4711, 65535):
        image = render(number)
        mask = SigningModel().segment(image).class_map
        shown = draw_overlay(image, mask, {1: (0, 255, 0)})
        assert read_mark(shown) == number == number_of_mask(mask_in_picture(shown))
        assert number_of_mask(mask_in_picture(image)) is None, "nothing is read where nothing is"


@pytest.mark.browser
async def test_the_composed_view_is_read_in_chromium(chromium: str) -> None:
    async with signing_session((240, 320), BROWSER_FPS) as session:
        shown = await look_in_browser(session, LOSS, 40, PATIENCE_S, chromium)
    assert shown.masked_frames >= 40
    readable = [state for state in shown.states if None not in state[:2]]
    assert all(frame == mask and str(frame) == told for frame, mask, told in readable)
    assert len(readable) > 0.9 * len(shown.states)


def test_without_a_chromium_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "exactness", "--json", "/dev/null", "--chromium", "no-such-browser"]) == 2
    assert "expected a Chromium, found no program no-such-browser" in capsys.readouterr().err
