"""CVAT's own exports, "CVAT for images 1.1" and "CVAT for video 1.1".

    ROOT/annotations.xml       labels, and per image (or per track and frame) polygons and masks
    ROOT/images/<name>         as the file names them, for images; frame_000000.png..., for video

A polygon or mask is drawn in the order of z_order, then of the file; other shapes cannot be masks:
they are refused, or passed over with shapes="skip". Class ids are 1, 2, ... in the order of the
labels. An image without a region is not annotated, unless empty="background" says that nothing is
to be seen in it. For images, a sequence is a folder, or what the group of the regular expression
`sequence` finds in a name; a video is one sequence.

As in CVAT's documentation of its XML format. The file is read as a whole: outlines stay in memory,
pixels do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np

from models.datasets.choices import one_of, pattern
from models.datasets.folder import DEFAULT_COLORS
from models.datasets.image_files import images_of, natural, read_image, require_size
from models.datasets.named_images import NamedImages
from models.datasets.phantom_dataset import Roles
from models.datasets.regions import BoolArray, corners, fill_rings, fill_runs, runs
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.phantom import CLASSES
from models.types import ClassSpec, UInt8Array

FILE = "annotations.xml"
REGIONS = ("polygon", "mask")
OTHER_SHAPES = ("box", "polyline", "points", "ellipse", "cuboid", "skeleton")
FIXTURE_CLASSES = CLASSES[:4]
ROLES = Roles(shafts={1: 1, 2: 2, 3: 3, 4: 4}, jaws={1: 1, 2: 2, 3: 3, 4: 4})


@dataclass(frozen=True)
class Region:
    """One polygon or mask as the file has it."""

    class_id: int
    z_order: int
    kind: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class _Export:
    """What the choices say of an export."""

    root: Path
    classes: tuple[ClassSpec, ...]
    sequence: str | None
    empty: str
    shapes: str

    def class_id(self, label: str | None) -> int:
        """Raises DatasetError for a label that the file does not declare."""
        found = next((spec.class_id for spec in self.classes if spec.name == label), None)
        if found is None:
            raise DatasetError(f"{FILE}: expected a label it declares, got {str(label)[:80]!r}")
        return found


def open_cvat(
    root: Path,
    *,
    sequence: str | None = None,
    empty: str = "unannotated",
    shapes: str = "refuse",
) -> Dataset:
    """Open an export of CVAT.

    sequence: a regular expression with one group that finds a sequence's name in an image's
    empty: what an image without a region is, "unannotated" or "background"
    shapes: what to do with boxes, lines and the like, "refuse" or "skip"
    Raises DatasetError: no annotations.xml, one that is not CVAT's, no labels, an undeclared label,
      another shape, an image that is not there; on reading, a region that cannot be drawn, an image
      of another size than the file says.
    """
    one_of("empty", empty, ("unannotated", "background"))
    pattern("sequence", sequence)
    one_of("shapes", shapes, ("refuse", "skip"))
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    tree = _parse(root / FILE)
    names = [element.text or "" for element in tree.iterfind("meta//labels/label/name")]
    if not 0 < len(names) < 255:
        raise DatasetError(f"{FILE}: expected 1 to 254 labels in meta, got {len(names)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{FILE}: expected each label once, got {twice} twice")
    classes = tuple(
        ClassSpec(number, name, DEFAULT_COLORS[(number - 1) % len(DEFAULT_COLORS)])
        for number, name in enumerate(names, start=1)
    )
    export = _Export(root, classes, sequence, empty, shapes)
    try:
        video = tree.find("image") is None
        sequences = [_open_video(tree, export)] if video else _open_images(tree, export)
    except (KeyError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{FILE}: expected CVAT's attributes, got {what}") from error
    return Dataset("cvat", root, classes, tuple(sequences))


def write_cvat(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write an export for images with every region as a mask; yields frames written."""
    tree = ET.Element("annotations")
    ET.SubElement(tree, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(tree, "meta"), "task"), "labels")
    for spec in dataset.classes:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = spec.name
    names = {spec.class_id: spec.name for spec in dataset.classes}
    written = 0
    for sequence in dataset.sequences:
        (out / "images" / sequence.name).mkdir(parents=True, exist_ok=True)
        for frame in sequence.frames:
            name, picture = f"{sequence.name}/{frame.name}.png", frame.read_image()
            cv2.imwrite(str(out / "images" / name), picture[..., ::-1])
            size = {"height": str(picture.shape[0]), "width": str(picture.shape[1])}
            image = ET.SubElement(tree, "image", {"id": str(written), "name": name, **size})
            if frame.read_mask is not None:
                _add_masks(image, frame.read_mask(), names)
            written += 1
            yield written
    ET.ElementTree(tree).write(out / FILE, encoding="utf-8", xml_declaration=True)


def _add_masks(image: ET.Element, mask: UInt8Array, names: dict[int, str]) -> None:
    for class_id in np.unique(mask[mask > 0]).tolist():
        region = mask == class_id
        left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
        inside = region[top : top + height, left : left + width]
        place = {"left": left, "top": top, "width": width, "height": height, "z_order": 0}
        attributes = {key: str(value) for key, value in place.items()}
        attributes["rle"] = ", ".join(str(count) for count in runs(inside, by_column=False))
        ET.SubElement(image, "mask", {"label": names[class_id], **attributes})


class _PlainXml(ET.TreeBuilder):
    """Entities can make a few bytes into gigabytes; CVAT writes none."""

    def doctype(self, *_: object) -> None:
        """Whatever its encoding, and wherever it stands."""
        raise DatasetError(f"{FILE}: expected plain XML, got a document type with entities")


def _parse(path: Path) -> ET.Element:
    if not path.is_file():
        raise DatasetError(f"{path.parent}: expected {FILE}, found no file")
    try:
        tree = ET.fromstring(path.read_bytes(), ET.XMLParser(target=_PlainXml()))
    except (ET.ParseError, LookupError, ValueError) as error:
        raise DatasetError(f"{FILE}: not valid XML ({error})") from error
    if tree.tag != "annotations":
        raise DatasetError(f"{FILE}: expected <annotations>, got <{tree.tag}>")
    return tree


def _open_images(tree: ET.Element, export: _Export) -> list[AnnotatedSequence]:
    grouped: dict[str, list[AnnotatedFrame]] = {}
    named = NamedImages((export.root / "images", export.root), FILE, "images")
    images = sorted(tree.iterfind("image"), key=lambda one: natural(Path(one.attrib["name"])))
    for image in images:
        name = image.attrib["name"]
        path = named.find(name)
        size = (int(image.attrib["height"]), int(image.attrib["width"]))
        regions = tuple(
            region for shape in image if (region := _region(shape, shape.get("label"), export))
        )
        frame = _frame(path, name, size, regions, export)
        grouped.setdefault(_sequence_name(name, export), []).append(frame)
    return [AnnotatedSequence(name, tuple(f), group=name) for name, f in grouped.items()]


def _open_video(tree: ET.Element, export: _Export) -> AnnotatedSequence:
    folder = export.root / "images"
    images = images_of(folder, "images") if folder.is_dir() else []
    if not images:
        raise DatasetError(f"{FILE}: expected frames in images, found none: export with images")
    size = [tree.findtext(f"meta//original_size/{side}") for side in ("height", "width")]
    if size[0] is None or size[1] is None:
        raise DatasetError(f"{FILE}: expected images, or original_size of a video, found neither")
    regions: dict[int, list[Region]] = {}
    for track in tree.iterfind("track"):
        for shape in track:
            region = _region(shape, track.get("label"), export)
            if region and shape.get("outside", "0") != "1":
                regions.setdefault(int(shape.attrib["frame"]), []).append(region)
    by_number = _by_number(images, tree)
    missing = sorted(regions.keys() - by_number.keys())
    if missing:
        raise DatasetError(f"{FILE}: expected images/frame_{missing[0]:06d}.png, found none")
    stated = (int(size[0]), int(size[1]))
    frames = tuple(
        _frame(path, path.name, stated, tuple(regions.get(number, ())), export)
        for number, path in sorted(by_number.items())
    )
    name = tree.findtext("meta//name") or export.root.name
    return AnnotatedSequence(name, frames, group=name)


def _by_number(images: list[Path], tree: ET.Element) -> dict[int, Path]:
    """Frame number -> image. CVAT counts a video's own frames from 0, also where it took but every
    n-th: numbers that it cannot have given are somebody else's, and would be off by some.

    Raises DatasetError: an image without a number at its end, one twice, one CVAT did not give.
    """
    first, last = (tree.findtext(f"meta//{one}_frame") for one in ("start", "stop"))
    step = re.search(r"step=(\d+)", tree.findtext("meta//frame_filter") or "")
    every, start = int(step[1]) if step else 1, int(first or 0)
    found: dict[int, Path] = {}
    for path in images:
        number = re.search(r"([0-9]+)$", path.stem)
        if number is None:
            raise DatasetError(f"images/{path.name}: expected a name like frame_000000.png")
        n = int(number[1])
        if n in found:
            raise DatasetError(f"images/{path.name}: expected frame {n} once, got {found[n].name}")
        if n < start or (n - start) % every or (last is not None and n > int(last)):
            counted = f"{start} to {last or 'the last'} in steps of {every}"
            raise DatasetError(
                f"images/{path.name}: expected frames as CVAT counts them, {counted}: "
                "export with images"
            )
        found[n] = path
    return found


def _frame(
    path: Path, name: str, size: tuple[int, int], regions: tuple[Region, ...], export: _Export
) -> AnnotatedFrame:
    annotated = bool(regions) or export.empty == "background"
    read = partial(_read_regions, path, name, size, regions) if annotated else None
    return AnnotatedFrame(path.stem, partial(read_image, path), read)


def _region(shape: ET.Element, label: str | None, export: _Export) -> Region | None:
    """The region of an element, None for tags, attributes and shapes that are passed over."""
    if shape.tag in OTHER_SHAPES and export.shapes == "refuse":
        raise DatasetError(
            f'{FILE}: expected polygons and masks, got a {shape.tag} of {label} (shapes="skip")'
        )
    if shape.tag not in REGIONS:
        return None
    z_order = int(shape.get("z_order", "0"))
    return Region(export.class_id(label), z_order, shape.tag, dict(shape.attrib))


def _sequence_name(name: str, export: _Export) -> str:
    if export.sequence is None:
        return Path(name.replace("\\", "/")).parent.name or export.root.name
    found = re.search(export.sequence, name)
    if found is None or not found.groups():
        raise DatasetError(f"sequence: expected a group that finds {name}, got {export.sequence}")
    return found.group(1)


def _read_regions(
    path: Path, name: str, size: tuple[int, int], regions: tuple[Region, ...]
) -> UInt8Array:
    require_size(size, f"{FILE}: {name}", path)
    mask = np.zeros(size, np.uint8)
    for region in sorted(regions, key=lambda one: one.z_order):
        try:
            mask[_draw(region, size)] = region.class_id
        except (KeyError, ValueError) as error:
            raise DatasetError(
                f"{FILE}: {name}: a {region.kind} cannot be drawn: {error}"
            ) from error
    return mask


def _draw(region: Region, size: tuple[int, int]) -> BoolArray:
    given = region.attributes
    if region.kind == "polygon":
        numbers = given["points"].replace(";", ",").split(",")
        return fill_rings([corners([float(number) for number in numbers])], size)
    left, top, width, height = (int(given[key]) for key in ("left", "top", "width", "height"))
    if left < 0 or top < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(f"expected a place inside {size[1]}x{size[0]}")
    counts = [int(count) for count in given["rle"].split(",")]
    drawn = np.zeros(size, np.bool_)
    inside = fill_runs(counts, (height, width), by_column=False)
    drawn[top : top + height, left : left + width] = inside
    return drawn
