"""Durations: of an engine's functions, of a tracker's steps, as results state them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.backbone.memory_attention import BankTensors
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.engines.graphs import SEE
from models.engines.interface import Engine, Found, Function, Sight, Step
from models.tracking.tracker import Tracker
from models.types import UInt8Array, Update

SEGMENT_REST, UPDATE_REST = "segment, outside the graphs", "update, outside the graphs"


def distribution(samples_ms: list[float]) -> dict[str, float]:
    """p50, p90, p95, p99, max and mean, milliseconds."""
    if not samples_ms:
        return {"n": 0}
    p50, p90, p95, p99 = np.percentile(samples_ms, [50, 90, 95, 99])
    named = {"p50": p50, "p90": p90, "p95": p95, "p99": p99}
    named |= {"max": max(samples_ms), "mean": float(np.mean(samples_ms))}
    return {"n": len(samples_ms)} | {key: round(float(value), 3) for key, value in named.items()}


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median of theirs / ours pair by pair, with the quartiles as its spread."""
    each = np.array(theirs) / np.array(ours)
    low, middle, high = (round(float(value), 3) for value in np.percentile(each, [25, 50, 75]))
    return {"median": middle, "p25": low, "p75": high, "n": len(each)}


def now(device: torch.device) -> float:
    """Seconds, when what the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class TimedEngine:
    """An engine that notes how long each of its functions took, in milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.config, self.device = engine, engine.config, engine.device
        self.own_threads, self.keeps_keys = engine.own_threads, engine.keeps_keys
        self.own_pictures = engine.own_pictures
        self.spent: dict[str, float] = defaultdict(float)  # since it was last cleared

    def encode_image(self, *arguments: Any) -> ImageFeatures:
        """Timed."""
        features: ImageFeatures = self._time("encode_image", self._engine.encode_image, arguments)
        return features

    def attend_memory(self, features: Any, bank: BankTensors) -> Any:
        """Timed, by the graph's name."""
        name = "attend_placed" if self.keeps_keys else "attend_memory"
        return self._time(name, self._engine.attend_memory, (features, bank))

    def attend_own(self, *arguments: Any) -> Any:
        """Timed."""
        return self._time("attend_own", self._engine.attend_own, arguments)

    def decode_masks(self, *arguments: Any) -> DecodedMasks:
        """Timed."""
        decoded: DecodedMasks = self._time("decode_masks", self._engine.decode_masks, arguments)
        return decoded

    def encode_memory(self, *arguments: Any) -> Any:
        """Timed."""
        return self._time("encode_memory", self._engine.encode_memory, arguments)

    def prompted_pointer(self, *arguments: Any) -> Any:
        """Timed."""
        return self._time("prompted_pointer", self._engine.prompted_pointer, arguments)

    def memories_changed(self, bank: BankTensors) -> None:
        """Timed, where it does anything."""
        if self.keeps_keys:
            self._time("place_memories", self._engine.memories_changed, (bank,))

    def compiled(self, function: nn.Module, *example: Tensor) -> Function:
        """As the engine compiles it, timed under the name of its class."""
        run, name = self._engine.compiled(function, *example), type(function).__name__
        return lambda *arguments: self._time(name, run, arguments)

    def recorded(self, step: Step[Found], *_: Any) -> Step[Found]:
        """As it is, so that its functions are timed one by one."""
        return step

    @property
    def see_instruments(self) -> Sight | None:
        """Timed, where the engine does it."""
        see = self._engine.see_instruments
        if see is None:
            return None
        return lambda image: self._time(SEE, see, (image,))

    def _time(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        started = now(self.device)
        result = function(*arguments)
        self.spent[name] += (now(self.device) - started) * 1e3
        return result


class StepTimer:
    """A tracker's steps, taken apart into stages where it runs on a `TimedEngine`; milliseconds."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        engine = tracker.engine
        self._spent = engine.spent if isinstance(engine, TimedEngine) else {}
        self.look_ms: list[float] = []
        self.learn_ms: list[float] = []
        self.stages_ms: dict[str, list[float]] = defaultdict(list)
        self.taught = 0

    def step(self, image: UInt8Array, *, counts: bool = True) -> float:
        """One step; returns its duration. counts: False while warming up"""
        spent = self._spent
        spent.clear()
        device = self.tracker.engine.device
        started = now(device)
        self.tracker.segment(image)
        segmented = now(device)
        in_segment = sum(spent.values())
        updates = self.tracker.update()
        segment, update = (segmented - started) * 1e3, (now(device) - segmented) * 1e3
        if counts:
            self.look_ms.append(segment)
            self.learn_ms.append(update)
            self.taught += sum(update is Update.ACCEPTED for update in updates)
            rest = {
                SEGMENT_REST: segment - in_segment,
                UPDATE_REST: update - sum(spent.values()) + in_segment,
            }
            for name, taken in (spent | rest).items():
                self.stages_ms[name].append(taken)
        return segment + update

    @property
    def step_ms(self) -> list[float]:
        """Whole steps."""
        return [a + b for a, b in zip(self.look_ms, self.learn_ms, strict=True)]

    def numbers(self) -> dict[str, Any]:
        """Everything as distributions; share: of the sum of all steps."""
        total = sum(self.step_ms)
        stages = {
            name: distribution(taken) | {"share": round(sum(taken) / total, 4)}
            for name, taken in self.stages_ms.items()
        }
        return {
            "step_ms": distribution(self.step_ms),
            "look_ms": distribution(self.look_ms),
            "learn_ms": distribution(self.learn_ms),
            "rows_taught_per_step": round(self.taught / max(len(self.look_ms), 1), 3),
            "stages": stages,
            "step_samples_ms": [round(value, 2) for value in self.step_ms],
        }


def latency_lines(title: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table for a person. found: distributions by name, with the frames not seen where counted"""
    lines = [f"{f'{title}, ms':<30}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}"]
    for name, one in found.items():
        figures = "".join(f"{one[key]:8.1f}" for key in ("p50", "p95", "p99", "max"))
        made = one.get("frames_captured")
        lost = "" if made is None else f"  {one['frames_not_seen']} of {made} lost"
        lines.append(f"{name:<30}{figures}{lost}")
    return lines
