"""What a run says of itself: a line for each frame or slice, and sums for the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from models.types import ClassSpec, Segmentation


def class_lines(result: Segmentation, classes: tuple[ClassSpec, ...]) -> list[dict[str, Any]]:
    """One entry for each class of one frame."""
    names = {spec.class_id: spec.name for spec in classes}
    return [
        {
            "id": one.class_id,
            "name": names[one.class_id],
            "present": one.present,
            "confidence": round(one.confidence, 4),
            "area": round(one.area, 6),
            "update": str(one.update),
        }
        for one in result.results
    ]


@dataclass
class Tally:
    """Running totals; bounded by the number of classes. unnamed: frames (slices) with it"""

    frames: int = 0
    unnamed: int = 0
    seen: Counter[int] = field(default_factory=Counter)
    confidence: Counter[int] = field(default_factory=Counter)
    updates: Counter[str] = field(default_factory=Counter)
    step_ms: float = 0.0

    def add(self, result: Segmentation) -> None:
        """Count one frame."""
        self.frames += 1
        self.unnamed += result.unnamed_area > 0
        self.step_ms += result.step_ms
        for one in result.results:
            self.updates[str(one.update)] += 1
            if one.present:
                self.seen[one.class_id] += 1
                self.confidence[one.class_id] += one.confidence  # type: ignore[assignment]

    def classes(self, specs: tuple[ClassSpec, ...], unit: str) -> list[dict[str, Any]]:
        """One entry for each class. unit: what was counted, "frames" say"""
        return [
            {
                "id": spec.class_id,
                "name": spec.name,
                f"{unit}_present": self.seen[spec.class_id],
                "mean_confidence": round(
                    self.confidence[spec.class_id] / max(self.seen[spec.class_id], 1), 4
                ),
            }
            for spec in specs
        ]


def reason_of(error: Exception) -> str:
    """The first line of an error, or its kind where it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
