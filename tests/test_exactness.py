"""A mask is only ever seen on its own frame: burnt in, or matched by the message's timestamp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction

import numpy as np
import pytest
from av import VideoFrame

from benchmarks.signed import (
    SigningModel,
    mask_in_picture,
    number_of_mask,
    numbered_picture,
)
from benchmarks.viewer import ViewerConfig, watching
from models.types import UInt8Array
from service.model_process import ModelProcess, ModelTimes
from service.session import Badge, Session, SessionPlan
from service.settings import Settings
from streaming.mark import read_mark
from streaming.mask_wire import read_mask
from streaming.sources import RenderedSource

SIZE, FPS, FRAMES, PATIENCE_S = (240, 320), 40, 150, 40


@asynccontextmanager
async def signing_session() -> AsyncIterator[Session]:
    def source() -> RenderedSource:
        return RenderedSource(lambda number: numbered_picture(number, SIZE), SIZE, Fraction(FPS))

    plan = SessionPlan(source, "numbers", "none", Badge.DEMO, mark=False)
    model = ModelProcess(SigningModel, ModelTimes(start_s=60))
    session = Session(plan, model, Settings())
    await session.start()
    try:
        yield session
    finally:
        await session.close()


def pixels(frame: VideoFrame) -> UInt8Array:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("loss", [0.0, 0.02])
async def test_a_burnt_in_mask_is_that_of_its_frame(loss: float) -> None:
    shown: list[tuple[int | None, int | None]] = []

    def look(frame: VideoFrame) -> None:
        image = pixels(frame)
        shown.append((read_mark(image), number_of_mask(mask_in_picture(image))))

    async with signing_session() as session:

        async def ask(sdp: str) -> str:
            return (await session.peers.answer(sdp, "overlay")).sdp

        async with watching(ask, look, config=ViewerConfig(loss=loss)):
            await until(lambda: len(shown) >= FRAMES)
    readable = [(mark, mask) for mark, mask in shown if mark is not None and mask is not None]
    assert [mark for mark, _ in readable] == [mask for _, mask in readable]
    assert len(readable) > 0.8 * len(shown), "most pictures are intact and have a mask"
    numbers = [mark for mark, _ in readable]
    assert numbers == sorted(set(numbers)), "time only goes forward"


@pytest.mark.parametrize("loss", [0.0, 0.02])
async def test_a_message_names_the_frame_it_belongs_to(loss: float) -> None:
    shown: dict[int, int | None] = {}
    masks: list[bytes] = []

    def look(frame: VideoFrame) -> None:
        assert frame.pts is not None
        shown[frame.pts] = read_mark(pixels(frame))

    async with signing_session() as session:

        async def ask(sdp: str) -> str:
            return (await session.peers.answer(sdp, "plain")).sdp

        async with watching(ask, look, masks.append, ViewerConfig(loss=loss)):
            await until(lambda: len(shown) >= FRAMES and len(masks) >= FRAMES // 2)
        status = session.status()
    matched = 0
    for message in map(read_mask, masks):
        mark = shown.get(message.rtp_timestamp)
        if mark is not None:
            assert number_of_mask(message.grid) == mark == message.index
            matched += 1
    assert matched > 0.7 * len(masks)
    assert status["renditions"]["overlay"]["encoded"] == 0, "nobody watched the other one"
    if not loss:
        assert matched > 0.95 * len(masks)
        assert status["masks_skipped"] <= 2, "at most until the first picture was out"
