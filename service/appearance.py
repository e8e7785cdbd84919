"""In which colour and under which name each class is drawn, and what is of no class."""

from __future__ import annotations

from collections.abc import Sequence

from models.types import UNNAMED_ID, ClassSpec
from streaming.overlay import Color, OverlayStyle, parse_color

UNNAMED = ClassSpec(UNNAMED_ID, "kind unknown", "#d0d7de")


def palette_of(classes: Sequence[ClassSpec]) -> dict[int, Color]:
    """(r, g, b) by class id."""
    return {spec.class_id: parse_color(spec.color) for spec in (*classes, UNNAMED)}


def named_style(classes: Sequence[ClassSpec]) -> OverlayStyle:
    """The usual style, with the classes' names as people write them."""
    named = {spec.class_id: spec.name.replace("_", " ") for spec in (*classes, UNNAMED)}
    return OverlayStyle(names=named)
