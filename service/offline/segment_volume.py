"""`trocar segment` of a CT or MR: slice after slice into labels that overlay on it, and a report.

The volume is in memory as one byte a voxel, its labels as another. Whatever happens, labels of the
slices that were done are written, and report.json says if and why the rest is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from models.tracking.tracker import StreamState
from models.types import BACKGROUND_ID, UNNAMED_ID, ClassSpec, Segmentation, UInt8Array
from models.volumes import Order, SlicePlane, Volume, Window, open_volume, slice_order
from models.volumes.stack import SliceStack
from service.errors import UsageError
from service.offline.contact_sheet import contact_sheet, spread
from service.offline.results import Tally, class_lines, reason_of
from service.offline.segment import prepare_folder


class VolumeSegmenter(Protocol):
    """What a volume needs of a tracker: a stream that can be gone on from twice."""

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """Classes, in the order of a segmentation's results."""

    def step(self, image_rgb: UInt8Array) -> Segmentation:
        """Segment the next slice."""

    def snapshot(self) -> StreamState:
        """The stream as it stands."""

    def restore(self, state: StreamState) -> None:
        """Go on from there."""


@dataclass(frozen=True)
class VolumeRequest:
    """source: a volume; out: output folder; axis, window: None chooses; settings: for the report"""

    source: Path
    out: Path
    order: Order = "middle-out"
    axis: int | None = None
    window: Window | None = None
    force: bool = False
    progress: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


def segment_volume(
    request: VolumeRequest, open_segmenter: Callable[[], VolumeSegmenter]
) -> dict[str, Any]:
    """Segment a volume and return the report that was written.

    Raises VolumeError, UsageError, and whatever the segmenter raises; on KeyboardInterrupt all is
    written before it is raised again.
    """
    volume = open_volume(request.source)
    stack = SliceStack.of(volume, SlicePlane.of(volume.grid, request.axis), request.window)
    segmenter = open_segmenter()
    prepare_folder(request.out, request.source, force=request.force)
    return _Run(request, volume, stack, segmenter).run()


def segment_slices(
    count: int,
    image_rgb: Callable[[int], UInt8Array],
    segmenter: VolumeSegmenter,
    order: Order,
) -> Iterator[tuple[int, Segmentation]]:
    """Slice numbers and what was found in them; both halves go on from the first slice.

    count: of slices; image_rgb: (H, W, 3) of a slice number
    """
    first_run, second_run = slice_order(count, order)
    after_first: StreamState | None = None
    for number in first_run:
        yield number, segmenter.step(image_rgb(number))
        if after_first is None and second_run:
            after_first = segmenter.snapshot()
    if after_first is not None:
        segmenter.restore(after_first)
    for number in second_run:
        yield number, segmenter.step(image_rgb(number))


class _Run:
    """One volume on its way through."""

    def __init__(
        self, request: VolumeRequest, volume: Volume, stack: SliceStack, segmenter: VolumeSegmenter
    ) -> None:
        self._request, self._volume, self._stack = request, volume, stack
        self._segmenter = segmenter
        self._labels = np.zeros(volume.grid.shape, np.uint8, order="F")
        self._tally = Tally()

    def run(self) -> dict[str, Any]:
        """Segment everything; the files are written whatever happens."""
        started = time.perf_counter()
        reason: str | None = "failed"
        try:
            self._all_slices()
            reason = None
        except KeyboardInterrupt:
            reason = "interrupted"
            raise
        except Exception as error:
            reason = reason_of(error)
            raise
        finally:
            report = self._report(time.perf_counter() - started, reason)
            self._write(report)
        return report

    def _all_slices(self) -> None:
        stack, request = self._stack, self._request
        answers = segment_slices(len(stack.grey), stack.image_rgb, self._segmenter, request.order)
        shown = tqdm(
            answers, total=len(stack.grey), unit="slice", desc="segment",
            disable=not request.progress,
        )  # fmt: skip
        with (request.out / "slices.jsonl").open("w", encoding="utf-8") as lines:
            for number, result in shown:
                named = np.where(result.class_map == UNNAMED_ID, BACKGROUND_ID, result.class_map)
                stack.plane.cut(self._labels, number)[...] = named
                self._tally.add(result)
                line = {
                    "slice": number,
                    "step_ms": round(result.step_ms, 3),
                    "classes": class_lines(result, self._segmenter.classes),
                    "unnamed_area": round(result.unnamed_area, 6),
                }
                lines.write(json.dumps(line) + "\n")

    def _write(self, report: dict[str, Any]) -> None:
        out = self._request.out
        self._volume.write_labels(out / report["labels"], self._labels)
        plane = self._stack.plane
        sheet = contact_sheet(
            lambda n: (self._stack.image_rgb(n), np.ascontiguousarray(plane.cut(self._labels, n))),
            spread(len(self._stack.grey)),
            self._segmenter.classes,
            plane.spacing_mm[1:],
        )
        if not cv2.imwrite(str(out / "overlay.png"), sheet[..., ::-1]):
            raise UsageError(f"cannot write {out / 'overlay.png'}: is the disk full?")
        (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")

    def _report(self, elapsed: float, reason: str | None) -> dict[str, Any]:
        request, stack, tally = self._request, self._stack, self._tally
        grid, specs = self._volume.grid, self._segmenter.classes
        voxel_ml = abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1000
        volumes = {spec.class_id: (self._labels == spec.class_id).sum() for spec in specs}
        return {
            "input": request.source.name,
            "labels": f"labels{self._volume.suffix}",
            "slices": tally.frames,
            "complete": reason is None,
            "problem": reason,
            "shape": list(grid.shape),
            "spacing_mm": [round(side, 6) for side in grid.spacing_mm],
            "slice_axis": stack.plane.axis,
            "order": request.order,
            "window": {"low": stack.window.low, "high": stack.window.high, "why": stack.window.why},
            "slices_per_s": round(tally.frames / max(elapsed, 1e-9), 3),
            "mean_step_ms": round(tally.step_ms / max(tally.frames, 1), 3),
            "updates": dict(tally.updates),
            "classes": [
                {**entry, "volume_ml": round(float(volumes[entry["id"]]) * voxel_ml, 4)}
                for entry in tally.classes(specs, "slices")
            ],
            "unnamed_slices": tally.unnamed,
            "settings": request.settings,
            "version": version("trocar"),
        }
