"""A mask is only ever seen on its own frame: burnt in, or matched by the message's timestamp."""

from __future__ import annotations

import pytest

from benchmarks.exactness import LOSS, look, signing_session

FRAMES, PATIENCE_S = 150, 60


@pytest.mark.parametrize("loss", [0.0, LOSS])
async def test_a_burnt_in_mask_is_that_of_its_frame(loss: float) -> None:
    async with signing_session((240, 320)) as session:
        looking = await look(session, "overlay", loss, FRAMES, PATIENCE_S)
        assert session.status()["renditions"]["plain"]["encoded"] == 0, "nobody watched it"
    marks, masks = zip(*looking.pairs, strict=True)
    assert marks == masks
    assert list(marks) == sorted(set(marks)), "time only goes forward"
    assert len(marks) > 0.8 * FRAMES, "most pictures are intact and have a mask"


@pytest.mark.parametrize("loss", [0.0, LOSS])
async def test_a_message_names_the_frame_it_belongs_to(loss: float) -> None:
    async with signing_session((240, 320)) as session:
        looking = await look(session, "plain", loss, FRAMES, PATIENCE_S)
        status = session.status()
    marks, masks = zip(*looking.pairs, strict=True)
    assert marks == masks
    assert len(set(marks)) == len(marks) > 0.6 * FRAMES
    assert status["renditions"]["overlay"]["encoded"] == 0, "nobody watched it"
    assert status["masks_skipped"] <= 3, "at most until the first picture was out"
