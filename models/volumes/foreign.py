"""Volumes in formats that are not read: what they are, and how they become one that is."""

from __future__ import annotations

from pathlib import Path

READ = ".nii, .nii.gz, .mhd, .mha"
BY_SUFFIX = {
    ".dcm": "DICOM", ".dicom": "DICOM", ".ima": "DICOM", ".nrrd": "NRRD", ".nhdr": "NRRD",
    ".hdr": "Analyze or NIfTI in two files", ".img": "Analyze or NIfTI in two files",
    ".mgz": "FreeSurfer's MGH", ".mgh": "FreeSurfer's MGH", ".mnc": "MINC", ".gipl": "GIPL",
}  # fmt: skip
LOOKED_AT = 20  # files of a folder


def foreign_volume(path: Path) -> str | None:
    """The name of the format, None where it is none of those; a file is known by its first bytes
    or its suffix, a folder by a file in it.
    """
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.is_file())[:LOOKED_AT]
        return next((name for one in files if (name := foreign_volume(one))), None)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return "DICOM"
    return "NRRD" if head[:4] == b"NRRD" else BY_SUFFIX.get(path.suffix.lower())


def how_to_convert(name: str) -> str:
    """Half a sentence, for messages. name: as foreign_volume gives it"""
    tool = "with dcm2niix (a DICOM video: export it as mp4)" if name == "DICOM" else "to .nii.gz"
    return f"volumes are {READ}: convert it {tool}"
