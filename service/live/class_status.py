"""What the model sees now, class by class, as the status tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.types import ClassResult, ClassSpec, Segmentation, Update
from service.live.appearance import UNNAMED


def classes_status(
    classes: Sequence[ClassSpec], last: Segmentation | None, updates: Sequence[Update]
) -> list[dict[str, Any]]:
    """One entry a class. last: the newest segmentation; updates: by the order of the classes"""
    results = {one.class_id: one for one in last.results} if last else {}
    newest = dict(zip(classes, updates, strict=False))
    return [_class_status(spec, results.get(spec.class_id), newest.get(spec)) for spec in classes]


def unnamed_status(last: Segmentation | None) -> dict[str, Any]:
    """What is drawn where an instrument's kind is unknown, and how much of it there is."""
    return {
        "id": UNNAMED.class_id,
        "name": UNNAMED.name,
        "color": UNNAMED.color,
        "area": round(last.unnamed_area, 6) if last else 0.0,
    }


def _class_status(
    spec: ClassSpec, result: ClassResult | None, update: Update | None
) -> dict[str, Any]:
    return {
        "id": spec.class_id,
        "name": spec.name,
        "color": spec.color,
        "present": bool(result and result.present),
        "confidence": round(result.confidence, 3) if result else 0.0,
        "update": str(update) if update else "",
    }
