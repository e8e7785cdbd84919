"""What `trocar bench embedded` prints of its result file."""

from __future__ import annotations

from typing import Any

from benchmarks.quality.clicked import CLICKS
from benchmarks.quality.flicker import CHANGES
from benchmarks.quality.metrics import Spread


def print_find(result: dict[str, Any]) -> None:
    """One line."""
    alarms = result["false_alarm_share_without_instrument"]
    print(
        f"any instrument, {result['clips']} unseen clips: DSC {_spread(result['foreground_dsc'])}, "
        f"false alarms {'none seen' if alarms is None else f'{alarms:.1%}'} of "
        f"{result['frames_without_instrument']} frames without an instrument"
    )


def print_track(result: dict[str, Any]) -> None:
    """One line."""
    print(
        f"first-frame mask over {result['frames_per_clip']} frames, {result['clips']} clips: "
        f"J {_spread(result['j'])}; memory alone {_spread(result['j_memory_alone'])}; "
        f"mask copied {_spread(result['j_first_mask_copied'])}"
    )


def print_click(result: dict[str, Any]) -> None:
    """One line."""
    print(
        f"clicks on {result['clips']} unseen clips: IoU {_spread(result['iou_after_one'])} after "
        f"one, {_spread(result[f'iou_after_{CLICKS}'])} after {CLICKS}"
    )


def print_name(result: dict[str, Any]) -> None:
    """A table."""
    print(f"kinds from {result['shots']} frames, {result['procedures']} unseen procedures")
    head = f"{'class DSC':>16}{'any DSC':>16}{'false alarms':>16}{'right name':>16}{'teaches':>9}"
    print(f"{'':24}{head}")
    rows = dict(result["variants"])
    rows.update({f"shift: {key}": value for key, value in result["shifted"].items()})
    rows.update({f"second clip: {key}": value for key, value in result["carried"].items()})
    for key, row in rows.items():
        print(
            f"{key:24}{_spread(row['class_dsc']):>16}{_spread(row['foreground_dsc']):>16}"
            f"{_spread(row['false_alarms']):>16}{_spread(row['rightly_named']):>16}"
            f"{row['teaching_frames']['mean']:>9.1%}"
        )
    print(f"{'true outlines, colour alone':72}{_spread(result['named_by_colour_alone']):>16}")
    sure = result["confidence"]
    print(
        f"confidence: calibration error {sure['error']:.3f} over {sure['count']} masks; "
        f"{sure['passed_share']:.1%} reach the gate, their mean DSC {sure['passed_dsc']:.3f}"
    )
    steady = result["flicker"]
    changes = [steady[f"{what}_a_second"] for what in CHANGES]
    print(
        f"in a second of an instrument at {steady['fps']:.0f} frames/s: its outline comes or goes "
        "{:.2f} times, its name {:.2f} times, one name takes another's place {:.2f} times".format(
            *changes
        )
    )
    print(
        f"online updates: {_signed(result['update_effect'])} class DSC; "
        f"under the shift {_signed(result['update_effect_shifted'])}; "
        f"in the second clip of an operation {_signed(result['update_effect_carried'])}"
    )


def _spread(values: dict[str, float]) -> str:
    return str(Spread(**values))  # type: ignore[arg-type]


def _signed(values: dict[str, float]) -> str:
    return f"{values['mean']:+.4f} ± {values['std']:.4f}"
