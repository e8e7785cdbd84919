"""Distributions of durations, as results state them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from models.backbone import BankTensors, DecodedMasks, ImageFeatures
from models.engines.engine import Engine


def distribution(samples_ms: list[float]) -> dict[str, float]:
    """p50, p90, p95, p99, max and mean, milliseconds."""
    if not samples_ms:
        return {"n": 0}
    p50, p90, p95, p99 = np.percentile(samples_ms, [50, 90, 95, 99])
    named = {"p50": p50, "p90": p90, "p95": p95, "p99": p99}
    named |= {"max": max(samples_ms), "mean": float(np.mean(samples_ms))}
    return {"n": len(samples_ms)} | {key: round(float(value), 3) for key, value in named.items()}


class TimedEngine:
    """An engine that notes how long each of its four functions took, in milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.config = engine, engine.config
        self.taken: dict[str, list[float]] = {}

    def encode_image(self, *arguments: Any) -> ImageFeatures:
        """Timed."""
        features: ImageFeatures = self._time("encode_image", self._engine.encode_image, arguments)
        return features

    def attend_memory(self, features: Any, bank: BankTensors) -> Any:
        """Timed; the mapping network's target, with a bank of one entry, on its own."""
        name = "attend_own" if bank.memory.shape[1] == 1 else "attend_memory"
        return self._time(name, self._engine.attend_memory, (features, bank))

    def decode_masks(self, *arguments: Any) -> DecodedMasks:
        """Timed."""
        decoded: DecodedMasks = self._time("decode_masks", self._engine.decode_masks, arguments)
        return decoded

    def encode_memory(self, *arguments: Any) -> Any:
        """Timed."""
        return self._time("encode_memory", self._engine.encode_memory, arguments)

    def _time(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        started = time.perf_counter()
        result = function(*arguments)
        self.taken.setdefault(name, []).append((time.perf_counter() - started) * 1e3)
        return result
