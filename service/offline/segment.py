"""`trocar segment`: every frame of a recording, in order, into masks, an overlay and a report.

Decoding runs ahead in one thread and what of the model's step needs no other frame in another;
drawing and encoding follow in a third; the rest of the step is done here.
Whatever happens, what has been written is valid: masks are whole files, the overlay is a video of
fragments, frames.jsonl has whole lines, and report.json says if and why the run is incomplete.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Protocol

import cv2
from tqdm import tqdm

from models.datasets.image_files import list_images, passed_over, read_image
from models.types import ClassSpec, Segmentation, UInt8Array
from models.volumes.foreign import foreign_volume, how_to_convert
from service.appearance import named_style, palette_of
from service.errors import UsageError
from service.offline.results import Tally, class_lines, reason_of
from service.output_folder import prepare_output
from streaming.deinterlace import Mode
from streaming.frame import Frame
from streaming.image_folder import ImageFolder
from streaming.overlay import draw_overlay
from streaming.prefetch import Prefetch
from streaming.video_file import VideoFile
from streaming.video_writer import VideoWriter

Recording = VideoFile | ImageFolder
PENDING = 4  # results waiting to be written
MARKS = ("frames.jsonl", "slices.jsonl")  # written first and removed last: the rest is ours too
OURS = (
    "masks", "overlay.mp4", "labels.nii", "labels.nii.gz", "labels.mha", "labels.mhd",
    "labels.zraw", "overlay.png", "report.json", *MARKS,
)  # fmt: skip


class Segmenter(Protocol):
    """What offline processing needs of a tracker."""

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """Classes, in the order of a segmentation's results."""

    def prepare(self, image_rgb: UInt8Array) -> Any:
        """What can be done ahead for a frame, in another thread; `step` takes it."""

    def step(self, prepared: Any) -> Segmentation:
        """Segment the next frame."""


@dataclass(frozen=True)
class SegmentRequest:
    """source: video or folder of images; out: output folder; settings: copied into the report"""

    source: Path
    out: Path
    force: bool = False
    progress: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    deinterlace: Mode = "auto"


def model_threads() -> int:
    """Half of the cores, one at least: the others decode, draw and encode meanwhile.

    With all of them for the model a step waits for threads that are encoding: at 1080p on two
    cores a frame then costs a quarter more (docs/engines.md).
    """
    return max(1, (os.cpu_count() or 1) // 2)


def open_recording(path: Path, deinterlace: Mode = "auto") -> Recording:
    """A video file or a folder of images.

    Raises SourceError, DatasetError (an unreadable image), UsageError (no such path).
    """
    if not path.exists():
        raise UsageError(f"expected a video or a folder of images, found nothing at {path}")
    images = list_images(path) if path.is_dir() else []
    if images:
        return ImageFolder(images, read_image, [one.name for one in passed_over(path)])
    foreign = foreign_volume(path)
    if foreign is not None:
        raise UsageError(
            f"{path.name}: expected a video, images or a volume, got {foreign}; "
            f"{how_to_convert(foreign)}"
        )
    if path.is_dir():
        unread = passed_over(path)
        got = f"{unread[0].name}, which is not read: convert it" if unread else "none"
        raise UsageError(f"expected a folder with .png or .jpg images, found {got}")
    return VideoFile(path, deinterlace)


def prepare_folder(out: Path, source: Path, *, force: bool) -> None:
    """Make the output folder; refuse a file in its place, one not writable, one with content.

    With force, our own earlier results in it are removed, nothing else: masks without our marks
    beside them were drawn by hand. Raises UsageError, also for a folder that holds the source.
    """
    if source.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"expected an output folder that does not hold the source, got {out}")
    prepare_output(out, force=force)
    found = [out / name for name in OURS if os.path.lexists(out / name)]
    if found and not any((out / name).is_file() for name in MARKS):
        raise UsageError(
            f"expected results of an earlier run, {found[0]} is none: choose another folder"
        )
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


class _Writer:
    """Draws and writes one result after the other, in a thread of its own."""

    def __init__(self, request: SegmentRequest, source: Recording, classes: tuple[ClassSpec, ...]):
        self._out, self._name_of = request.out, source.name_of
        self._classes = classes
        self._palette, self._style = palette_of(classes), named_style(classes)
        self._video = VideoWriter(
            request.out / "overlay.mp4", source.size, source.fps, source.pixel_aspect
        )
        self._lines: IO[str] = (request.out / "frames.jsonl").open("w", encoding="utf-8")

    def write(self, frame: Frame, result: Segmentation) -> None:
        """Mask, overlay frame and line of one frame."""
        mask = self._out / "masks" / f"{frame.index:06d}.png"
        if not cv2.imwrite(str(mask), result.class_map):
            raise UsageError(f"cannot write {mask}: is the disk full?")
        drawn = draw_overlay(frame.image_rgb, result.class_map, self._palette, self._style)
        self._video.write(drawn, frame.pts_ns)
        self._lines.write(json.dumps(self._line(frame, result)) + "\n")
        self._lines.flush()

    def _line(self, frame: Frame, result: Segmentation) -> dict[str, Any]:
        name = self._name_of(frame.index)
        return {
            "index": frame.index,
            **({} if name is None else {"image": name}),
            "time_s": round(frame.pts_ns / 1e9, 6),
            "step_ms": round(result.step_ms, 3),
            "classes": class_lines(result, self._classes),
            "unnamed_area": round(result.unnamed_area, 6),
        }

    def close(self) -> None:
        """Finish the files."""
        self._video.close()
        self._lines.close()


class _Progress:
    """A bar with the rate in frames a second and as a multiple of the recording's own."""

    def __init__(self, source: Recording, *, shown: bool) -> None:
        self._fps = float(source.fps)
        count = source.frame_count
        self._bar = tqdm(total=count, unit="frame", desc="segment", disable=not shown)

    def update(self) -> None:
        """One more frame is done."""
        self._bar.update()
        rate = self._bar.format_dict["rate"]
        if rate:
            self._bar.set_postfix_str(f"{rate / self._fps:.2f}x real time", refresh=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def segment(request: SegmentRequest, open_segmenter: Callable[[], Segmenter]) -> dict[str, Any]:
    """Process a recording and return the report that was written.

    Raises UsageError, SourceError, and whatever the segmenter raises; on KeyboardInterrupt the
    report is written before it is raised again.
    """
    source = open_recording(request.source, request.deinterlace)
    try:
        segmenter = open_segmenter()
        prepare_folder(request.out, request.source, force=request.force)
        (request.out / "frames.jsonl").touch()
        (request.out / "masks").mkdir()
        return _run(request, source, segmenter)
    finally:
        source.close()


def _run(request: SegmentRequest, source: Recording, segmenter: Segmenter) -> dict[str, Any]:
    writer = _Writer(request, source, segmenter.classes)
    tally, started = Tally(), time.perf_counter()
    reason: str | None = "failed"
    decoded = Prefetch(source)
    ahead = Prefetch(_prepared(decoded, segmenter))
    bar = _Progress(source, shown=request.progress)
    try:
        _step_all(ahead, segmenter, writer, tally, bar)
        reason = source.problem
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    except Exception as error:
        reason = reason_of(error)
        raise
    finally:
        bar.close()
        ahead.close()
        decoded.close()
        writer.close()
        elapsed = time.perf_counter() - started
        report = _report(request, source, segmenter.classes, (tally, elapsed, reason))
        (request.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def _prepared(decoded: Iterable[Frame], segmenter: Segmenter) -> Iterator[tuple[Frame, Any]]:
    """Each frame with what the segmenter can do ahead for it."""
    for frame in decoded:
        yield frame, segmenter.prepare(frame.image_rgb)


def _step_all(
    ahead: Iterable[tuple[Frame, Any]],
    segmenter: Segmenter,
    writer: _Writer,
    tally: Tally,
    bar: _Progress,
) -> None:
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="write") as pool:
        for frame, prepared in ahead:
            result = segmenter.step(prepared)
            tally.add(result)
            pending.append(pool.submit(writer.write, frame, result))
            if len(pending) > PENDING:
                pending.popleft().result()
            bar.update()
        while pending:
            pending.popleft().result()


def _report(
    request: SegmentRequest,
    source: Recording,
    classes: tuple[ClassSpec, ...],
    run: tuple[Tally, float, str | None],
) -> dict[str, Any]:
    tally, elapsed, reason = run
    rate = tally.frames / max(elapsed, 1e-9)
    return {
        "input": request.source.name,
        "frames": tally.frames,
        "complete": reason is None,
        "problem": reason,
        "size": {"height": source.size[0], "width": source.size[1]},
        "fps": float(source.fps),
        "picture": source.taken_as().status(),
        "processed_fps": round(rate, 3),
        "times_real_time": round(rate / float(source.fps), 3),
        "mean_step_ms": round(tally.step_ms / max(tally.frames, 1), 3),
        "updates": dict(tally.updates),
        "classes": tally.classes(classes, "frames"),
        "unnamed_frames": tally.unnamed,
        "settings": request.settings,
        "version": version("trocar"),
    }
