"""Pictures of what the methods found: a row a case, a column a method, the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.paper.case import CaseFile, plain_name, write_whole
from benchmarks.paper.methods import EVERYTHING, METHODS
from benchmarks.paper.run import SeedResult
from benchmarks.paper.setting import PaperConfig
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence
from models.types import BACKGROUND_ID, IGNORE_ID, ClassSpec, UInt8Array

WIDTH, COLUMNS, CAPTION = 320, 4, 22  # pixels of a picture, pictures in a row, pixels of a caption


def draw_panels(config: PaperConfig, result: SeedResult) -> list[Path]:
    """One file a case of the first seed: image, truth, then every method but the ablations."""
    written = []
    for sequence in result.split.test[: config.panels]:
        frame = middle_frame(sequence, prompted=False)
        pictures = dict(_pictures(config, result, sequence, frame))
        path = config.out / "panels" / f"{plain_name(sequence.name)}.png"
        encoded = cv2.imencode(".png", montage(pictures)[..., ::-1])[1]
        write_whole(path, encoded.tobytes())
        written.append(path)
    return written


def middle_frame(sequence: AnnotatedSequence, *, prompted: bool) -> AnnotatedFrame:
    """The frame whose class map a case keeps; a prompted method's first one is not its own."""
    frames = sequence.annotated()[1 if prompted else 0 :]
    return frames[len(frames) // 2]


def _pictures(
    config: PaperConfig, result: SeedResult, sequence: AnnotatedSequence, frame: AnnotatedFrame
) -> list[tuple[str, UInt8Array]]:
    image, classes = frame.read_image(), result.split.classes
    truth = frame.read_mask() if frame.read_mask else np.zeros(image.shape[:2], np.uint8)
    pictures = [("image", image), ("truth", painted(image, truth, classes))]
    for name in METHODS:
        path = CaseFile.of(config.out, result.seed, name, sequence.name).picture
        if name not in config.methods or not path.is_file():
            continue
        found = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        own = middle_frame(sequence, prompted=EVERYTHING[name].prompted)
        drawn = painted(own.read_image(), found, classes, ignored=None)
        pictures.append((EVERYTHING[name].title, drawn))
    return pictures


def painted(
    image: UInt8Array,
    found: UInt8Array,
    classes: Sequence[ClassSpec],
    ignored: int | None = IGNORE_ID,
) -> UInt8Array:
    """Classes in their colours over the image, others and what has no name in grey.

    image: (H, W, 3); found: (H, W) class ids; ignored: an id that is not painted
    """
    drawn = image.copy()
    for spec in classes:
        inside = found == spec.class_id
        color = np.array([int(spec.color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        drawn[inside] = (0.45 * drawn[inside] + 0.55 * color).astype(np.uint8)
    unknown = (found != BACKGROUND_ID) & ~np.isin(found, [s.class_id for s in classes])
    drawn[unknown & (found != ignored)] = 128
    return drawn


def montage(pictures: Mapping[str, UInt8Array]) -> UInt8Array:
    """Captioned pictures, COLUMNS in a row. (H, W, 3) RGB"""
    tiles = [_tile(caption, picture) for caption, picture in pictures.items()]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def _tile(caption: str, picture: UInt8Array) -> UInt8Array:
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    small = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    tile = np.full((height + CAPTION, WIDTH + 6, 3), 255, np.uint8)
    tile[CAPTION:, 3:-3] = small
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(tile, caption, (5, CAPTION - 7), font, 0.45, (20, 20, 20), 1, cv2.LINE_AA)
    return tile
