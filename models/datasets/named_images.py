"""Finds the images that an annotation file names, however a tool has written the names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from models.datasets.image_files import IMAGE_SUFFIXES, list_images
from models.errors import DatasetError


class NamedImages:
    """Images below some folders. A name may have Windows' slashes, or come without its suffix.

    places: looked into in this order; where: the annotation file's name in messages
    shown_in: the folder in which messages say that an image is missing
    """

    def __init__(self, places: Sequence[Path], where: str, shown_in: str = "") -> None:
        self._shown = f"{shown_in}/{{}}" if shown_in else "{} in images"
        self._places, self._where = tuple(dict.fromkeys(places)), where
        self._listed: dict[Path, dict[str, list[Path]]] = {}
        self._named_by: dict[Path, str] = {}

    def find(self, name: str) -> Path:
        """Raises DatasetError: outside of the folders, nowhere, ambiguous, or named before."""
        path = self._find(name)
        before = self._named_by.setdefault(path, name)
        if before is not name:
            also = "" if before == name else f", as {before} too"
            raise DatasetError(
                f"{self._where}: expected each image once, got {_short(name)} twice{also}"
            )
        return path

    def _find(self, name: str) -> Path:
        relative = Path(name.replace("\\", "/"))
        if relative.is_absolute() or ".." in relative.parts or re.match(r"[A-Za-z]:", name):
            raise DatasetError(
                f"{self._where}: expected images inside the folder, got {_short(name)}"
            )
        for place in self._places:
            for exact in (place / name, place / relative):
                if _is_file(exact):
                    return exact
            alike = self._alike(place / relative)
            if len(alike) > 1:
                found = ", ".join(path.name for path in alike)
                raise DatasetError(
                    f"{self._where}: expected one image {_short(name)}, found {found}"
                )
            if alike:
                return alike[0]
        shown = self._shown.format(_short(name))
        raise DatasetError(f"{self._where}: expected an image {shown}, found none")

    def _alike(self, path: Path) -> list[Path]:
        """Images beside it whose suffix alone differs: in capitals, or there at all."""
        suffix = path.suffix.lower()
        bare = path.stem if suffix in IMAGE_SUFFIXES else path.name
        listed = self._folder(path.parent).get(bare, [])
        if suffix in IMAGE_SUFFIXES:
            return [one for one in listed if one.suffix.lower() == suffix]
        return listed

    def _folder(self, folder: Path) -> dict[str, list[Path]]:
        """Stem -> images of a folder."""
        if folder not in self._listed:
            stems: dict[str, list[Path]] = {}
            for path in list_images(folder) if folder.is_dir() else []:
                stems.setdefault(path.stem, []).append(path)
            self._listed[folder] = stems
        return self._listed[folder]


def _short(name: str) -> str:
    """For messages: a file has no name that is longer."""
    return name if len(name) <= 255 else f"{name[:80]}..."


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False
