"""`trocar bench loopback`: from a frame's capture to its decoded pixels, over real WebRTC.

Every frame carries its number in its pixels; viewers in another process note when they had it
decoded, on the same monotonic clock. A plain aiortc relay without a model is measured in the same
run, with the same viewers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.live.fan_out import ask, measure_fan_out
from benchmarks.live.relay import Relay
from benchmarks.live.remote_viewers import Seen, remote_viewers
from benchmarks.live.viewer import AskAnswer, ViewerConfig
from benchmarks.result_file import result, write_result
from benchmarks.speed.timing import distribution, latency_lines
from models.tracking.tracker import Tracker
from models.types import UInt8Array
from service.live.badge import Badge
from service.live.phantom_source import PhantomScenes, PhantomUrl
from service.live.session import Session
from service.live.session_config import SessionConfig
from service.live.status import SessionStatus
from service.model.process import ModelProcess
from service.settings import Settings, let_threads_sleep
from streaming.frame import Frame
from streaming.sources import RenderedSource

DIFFERENT = 100  # pictures rendered beforehand, played to and fro: drawing them is not measured
FIRST = 500  # of a scene in which instruments are sure enough to teach


@dataclass(frozen=True)
class LoopbackConfig:
    """seconds: of each phase, after warm-up; size: (H, W)"""

    seconds: float = 20.0
    warm_up_s: float = 4.0
    size: tuple[int, int] = (480, 640)
    fps: int = 25
    profile: str = "phantom"
    engine: str = "auto"
    note: str = ""


class LoopSource(RenderedSource):
    """Phantom pictures at a steady rate, with a note of when each was captured, by its index."""

    def __init__(self, pictures: list[UInt8Array], fps: int) -> None:
        self.captured_ns: dict[int, int] = {}
        there_and_back = [*range(len(pictures)), *reversed(range(len(pictures)))]

        def render(number: int) -> UInt8Array:
            picture: UInt8Array = pictures[there_and_back[number % len(there_and_back)]]
            return picture

        height, width = pictures[0].shape[:2]
        super().__init__(render, (height, width), Fraction(fps))

    def __iter__(self) -> Iterator[Frame]:
        """Frames for ever."""
        for frame in super().__iter__():
            self.captured_ns[frame.index] = frame.captured_ns
            yield frame


def run_loopback(config: LoopbackConfig, out: Path) -> int:
    """Measure, print, write the JSON."""
    let_threads_sleep()
    content = asyncio.run(measure_loopback(config))
    print(loopback_table(content))
    write_result(content, out)
    return 0


async def measure_loopback(config: LoopbackConfig) -> dict[str, Any]:
    pictures = loopback_pictures(config)
    latency: dict[str, Any] = {}
    bar = tqdm(total=6, desc="loopback")
    async with _relaying(pictures, config) as (relay, source):
        for name, marker in (("relay, marker", True), ("relay, stock", False)):
            latency[name] = await _phase(relay.answer, source, config, marker=marker)
            bar.update()
    async with loopback_session(pictures, config) as (session, source):
        for view, marker in (("overlay", True), ("overlay", False), ("plain", True)):
            asking = functools.partial(ask, session, view)
            found = await _phase(asking, source, config, marker=marker)
            found["stages_ms"] = _stages(session.status(), view, found["p50"])
            latency[f"{view}, {'marker' if marker else 'stock'}"] = found
            bar.update()
        fan_out = await measure_fan_out(session, source.captured_ns, config.seconds)
        updates = session.status().updates
        bar.update()
    bar.close()
    ours, theirs = (latency[name]["p50"] for name in ("overlay, marker", "relay, marker"))
    return result(
        "loopback",
        asdict(config),
        config.note,
        what="capture to decoded pixels, one viewer in another process, one machine; ms",
        capture_to_decode_ms=latency,
        fan_out=fan_out,
        added_to_a_plain_relay_p50_ms=round(ours - theirs, 1),
        updates=updates,
    )


def loopback_pictures(config: LoopbackConfig) -> list[UInt8Array]:
    """Of a phantom, rendered beforehand. (H, W, 3) RGB"""
    scenes = PhantomScenes(PhantomUrl(size=config.size, fps=Fraction(config.fps)))
    return [scenes.image(number) for number in range(FIRST, FIRST + DIFFERENT)]


@contextlib.asynccontextmanager
async def loopback_session(
    pictures: list[UInt8Array], config: LoopbackConfig
) -> AsyncIterator[tuple[Session, LoopSource]]:
    """A session with the real model on these pictures, and its source."""
    source = LoopSource(pictures, config.fps)
    plan = SessionConfig(lambda: source, "phantom", config.profile, Badge.DEMO, mark=True)
    opener = functools.partial(Tracker.open, config.profile, engine=config.engine)
    session = Session(plan, ModelProcess(opener), Settings())
    await session.start()
    try:
        yield session, source
    finally:
        await session.close()


@contextlib.asynccontextmanager
async def _relaying(
    pictures: list[UInt8Array], config: LoopbackConfig
) -> AsyncIterator[tuple[Relay, LoopSource]]:
    source = LoopSource(pictures, config.fps)
    relay = Relay(source)
    try:
        yield relay, source
    finally:
        await relay.close()


async def _phase(
    asking: AskAnswer, source: LoopSource, config: LoopbackConfig, *, marker: bool
) -> dict[str, Any]:
    """One viewer for the time of a phase."""
    async with remote_viewers(asking, 1, ViewerConfig(marker=marker)) as viewers:
        await asyncio.sleep(config.warm_up_s)
        begin = max(source.captured_ns.values())
        await asyncio.sleep(config.seconds)
        (seen,) = await viewers.finish()
    return _latencies(seen, source.captured_ns, begin)


def _latencies(seen: Seen, captured_ns: dict[int, int], begin: int) -> dict[str, Any]:
    """Distribution over the frames captured after `begin`, and those that were never seen."""
    counted = [
        (captured_ns[index], decoded_ns)
        for index, decoded_ns in seen.frames(captured_ns)
        if captured_ns[index] > begin
    ]
    last = max(captured for captured, _ in counted)
    made = sum(begin < captured <= last for captured in captured_ns.values())
    return distribution([(decoded - captured) / 1e6 for captured, decoded in counted]) | {
        "frames_captured": made,
        "frames_not_seen": made - len(counted),
        "unreadable": seen.unreadable,
    }


def _stages(status: SessionStatus, view: str, decoded_ms: float) -> dict[str, float]:
    """Medians of the way's parts; after sending come network, jitter buffer and decoder."""
    plain = view == "plain"
    sent = (status.plain_capture_to_send_ms if plain else status.capture_to_send_ms).p50
    stages = {"capture_to_send": sent, "send_to_decoded": round(decoded_ms - sent, 1)}
    if plain:
        return stages
    step, drawn = status.step_ms.p50, status.draw_and_encode_ms.p50
    waiting = round(sent - step - drawn, 1)  # for the model to be free, and between the threads
    return {"waiting": waiting, "model_step": step, "draw_and_encode": drawn} | stages


def loopback_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = latency_lines("capture to decoded pixels", content["capture_to_decode_ms"])
    lines.append(f"added to a plain relay, p50: {content['added_to_a_plain_relay_p50_ms']} ms")
    lines.append(f"updates: {content['updates']}")
    for name, found in content["fan_out"].items():
        lines.append(f"fan-out, {name.replace('_', ' ')}: {found}")
    return "\n".join(lines)
