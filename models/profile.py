"""A profile: what a few annotated frames became. One safetensors file, tied to one backbone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.backbone import DecodedMasks
from models.config import LearnerConfig, MemoryConfig
from models.errors import ProfileError
from models.learner import LearnerStart
from models.mapper import Statistics
from models.naming import Naming
from models.ofl_sam2 import Entries
from models.references import References
from models.types import ClassSpec

FORMAT = "trocar-profile-1"
EMBEDDED = Path(__file__).parent / "weights"
EMBEDDED_NAMES = ("instrument", "phantom")


@dataclass(frozen=True)
class Calibration:
    """confidence = sigmoid(slope * logit(raw) + offset), raw = predicted IoU times object.

    slope, offset: (C,)
    """

    slope: Tensor
    offset: Tensor

    def __call__(self, raw: Tensor) -> Tensor:
        """raw: (C,) 0 to 1 -> calibrated estimate of the DSC, (C,)"""
        return torch.sigmoid(self.slope * torch.logit(raw.clamp(1e-4, 1 - 1e-4)) + self.offset)


def raw_confidence(decoded: DecodedMasks, certainty: Tensor) -> Tensor:
    """Predicted IoU times object score times certainty of the name, before calibration. (C,)"""
    return decoded.iou * decoded.object_logit.sigmoid() * certainty


@dataclass(frozen=True)
class SupportSet:
    """Candidates for the memory bank: N annotated frames with the memories of every class.

    entries: memory (C, N, M, h, w), pointer (C, N, D); present: (C, N) bool
    pooled: (N, D) unit-length pooled feature of each frame, for retrieval
    """

    entries: Entries
    present: Tensor
    pooled: Tensor

    def most_similar(self, row: int, pooled: Tensor, count: int) -> Entries:
        """The class's entries of the frames most like this one, best first; at most `count`.

        pooled: (D,) of the frame at hand. Source: FATE-SAM's and OFL-SAM2's retrieval of K samples.
        """
        similarity = (self.pooled @ pooled).masked_fill(~self.present[row], -2.0)
        best = similarity.topk(min(count, int(self.present[row].sum()))).indices
        return Entries(self.entries.memory[row, best], self.entries.pointer[row, best])


def pool_features(stride16: Tensor) -> Tensor:
    """Unit-length mean feature of each frame, for retrieval. (B, D, h, w) -> (B, D)"""
    return F.normalize(stride16.mean(dim=(2, 3)), dim=1)


@dataclass(frozen=True)
class Profile:
    """Everything a tracker needs besides the frozen backbone."""

    classes: tuple[ClassSpec, ...]
    backbone: str
    backbone_sha256: str
    learner: LearnerConfig
    memory: MemoryConfig
    start: LearnerStart
    fusion: dict[str, Tensor]
    support: SupportSet
    calibration: Calibration
    fitted_on: dict[str, Any]
    naming: Naming | None = None
    lift: Tensor | None = None  # (1, D, M + 1), where T regresses memories; see models/lift.py
    references: References | None = None
    foreground: Tensor | None = None  # where each class is an instrument of one frame that is
    # followed: (T + 1,), see foreground_fit.py
    head: dict[str, Tensor] | None = None  # adapted to the annotated pictures, see adapted_head.py
    object_offset: float = 0.0  # added to the object score, which decides whether a class is there


def save_profile(profile: Profile, path: Path) -> None:
    """Write the file, replacing it as a whole. Grams are symmetric: one triangle is stored."""
    anchor = profile.start.anchor
    side = anchor.gram.shape[-1]
    upper = torch.triu_indices(side, side)
    tensors = {
        "tau": profile.start.tau,
        "tolerance": profile.start.tolerance,
        "surprise": profile.start.surprise,
        "anchor.gram": anchor.gram[:, upper[0], upper[1]],
        "anchor.cross": anchor.cross,
        "anchor.energy": anchor.energy,
        "support.memory": profile.support.entries.memory.half(),
        "support.pointer": profile.support.entries.pointer.half(),
        "support.present": profile.support.present,
        "support.pooled": profile.support.pooled,
        "calibration.slope": profile.calibration.slope,
        "calibration.offset": profile.calibration.offset,
        **({} if profile.lift is None else {"lift": profile.lift}),
        **({} if profile.naming is None else {"indicator": profile.naming.indicator}),
        **_reference_tensors(profile.references),
        **({} if profile.foreground is None else {"foreground": profile.foreground}),
        **{f"head.{key}": value.half() for key, value in (profile.head or {}).items()},
        **{f"fusion.{key}": value for key, value in profile.fusion.items()},
    }
    header = {
        "format": FORMAT,
        "classes": [asdict(spec) for spec in profile.classes],
        "backbone": profile.backbone,
        "backbone_sha256": profile.backbone_sha256,
        "learner": asdict(profile.learner),
        "memory": asdict(profile.memory),
        "ridge": profile.start.ridge,
        "fitted_on": profile.fitted_on,
        "object_offset": profile.object_offset,
        "naming_weight": None if profile.naming is None else profile.naming.weight,
        "references": _reference_numbers(profile.references),
    }
    part = path.with_name(path.name + ".part")
    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    # Written by us: the library's own files can be read by nobody else.
    part.write_bytes(save(contiguous, metadata={"trocar": json.dumps(header)}))
    part.replace(path)


def load_profile(profile: str | Path) -> Profile:
    """An embedded profile by name, or a file.

    Raises ProfileError: no such file, truncated, not safetensors (a pickle, say), other format.
    """
    path = _locate(profile)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("trocar", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ProfileError(
            f"{path.name}: expected a whole profile in safetensors format, got {reason}"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise ProfileError(f"{path.name}: expected profile format {FORMAT}, got {found or 'none'}")
    try:
        return _assemble(header, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ProfileError(f"{path.name}: profile is incomplete ({error})") from error


def _locate(profile: str | Path) -> Path:
    if str(profile) in EMBEDDED_NAMES:
        return EMBEDDED / f"{profile}.safetensors"
    path = Path(profile)
    if not path.is_file():
        names = ", ".join(EMBEDDED_NAMES)
        raise ProfileError(f"expected a profile file or one of {names}, found no file {path}")
    return path


def _assemble(header: dict[str, Any], tensors: dict[str, Tensor]) -> Profile:
    support = SupportSet(
        Entries(tensors["support.memory"].float(), tensors["support.pointer"].float()),
        tensors["support.present"],
        tensors["support.pooled"],
    )
    tau, energy = tensors["tau"], tensors["anchor.energy"]
    anchor = Statistics(
        _symmetric(tensors["anchor.gram"], tau.shape[-1]),
        tensors["anchor.cross"],
        energy,
        torch.ones_like(energy),
    )
    learner = {
        f.name: header["learner"][f.name]
        for f in fields(LearnerConfig)
        if f.name in header["learner"] or f.name != "target"  # profiles from before it was a choice
    }
    learner["context"] = tuple(learner["context"])
    return Profile(
        classes=tuple(ClassSpec(**spec) for spec in header["classes"]),
        backbone=header["backbone"],
        backbone_sha256=header["backbone_sha256"],
        learner=LearnerConfig(**learner),
        memory=MemoryConfig(**header["memory"]),
        start=LearnerStart(
            tau, anchor, float(header["ridge"]), tensors["tolerance"], tensors["surprise"]
        ),
        fusion=_part(tensors, "fusion."),
        support=support,
        calibration=Calibration(tensors["calibration.slope"], tensors["calibration.offset"]),
        fitted_on=dict(header["fitted_on"]),
        naming=_naming(header, tensors),
        lift=tensors.get("lift"),
        references=_references(header, tensors),
        foreground=tensors.get("foreground"),
        head=_part(tensors, "head.") or None,
        object_offset=float(header["object_offset"]),
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _naming(header: dict[str, Any], tensors: dict[str, Tensor]) -> Naming | None:
    if header["naming_weight"] is None:
        return None
    return Naming(tensors["indicator"], float(header["naming_weight"]))


def _reference_tensors(references: References | None) -> dict[str, Tensor]:
    if references is None:
        return {}
    return {"reference.description": references.description, "reference.row": references.row}


def _reference_numbers(references: References | None) -> dict[str, float] | None:
    if references is None:
        return None
    return {"alone": references.alone, "found_weight": references.found_weight}


def _references(header: dict[str, Any], tensors: dict[str, Tensor]) -> References | None:
    numbers = header.get("references")
    if numbers is None:
        return None
    described, row = tensors["reference.description"], tensors["reference.row"]
    return References(described, row, float(numbers["alone"]), float(numbers["found_weight"]))


def _symmetric(upper: Tensor, side: int) -> Tensor:
    index = torch.triu_indices(side, side)
    full = torch.zeros(len(upper), side, side)
    full[:, index[0], index[1]] = upper
    full[:, index[1], index[0]] = upper
    return full
