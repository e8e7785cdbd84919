"""A profile: what a few annotated frames became. One safetensors file, tied to one backbone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.backbone.memory_bank import Entries
from models.config import EMBEDDED_PROFILES, LearnerConfig, MemoryConfig
from models.errors import ProfileError
from models.instances.exemplars import Exemplars
from models.learner.mapping_network import Statistics
from models.learner.online_learner import LearnerStart
from models.learner.pixel_classifier import PixelNames
from models.method.profile_values import check_values, read_header
from models.types import ClassSpec

FORMAT, FIRST_FORMAT = "trocar-profile-2", "trocar-profile-1"
EMBEDDED = Path(__file__).parents[1] / "weights"


class Mode(StrEnum):
    """Which path predicts a frame's masks, and what names them."""

    PIXELS = "pixels"  # the memory path; names of pixels, where there are any
    INSTANCES = "instances"  # the memory path beside the instance head; names of instances
    HEAD = "head"  # the instance head alone; names of instances
    FOLLOW = "follow"  # the memory path and the head follow the instruments of one frame

    @property
    def instances(self) -> bool:
        """Is the instance head needed?"""
        return self is not Mode.PIXELS


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
    mode: Mode = Mode.PIXELS
    pixel_names: PixelNames | None = None
    exemplars: Exemplars | None = None
    head_weight: float = 1.0  # of the instance head beside the memory path, in Mode.INSTANCES
    foreground: Tensor | None = None  # (T + 1,), in Mode.FOLLOW; see foreground_fit.py
    head: dict[str, Tensor] | None = None  # adapted to the annotated pictures, see adapted_head.py
    object_offset: float = 0.0  # added to the object score, which decides whether a class is there


def save_profile(profile: Profile, path: Path) -> None:
    """Write the file, replacing it as a whole. Grams are symmetric: one triangle is stored."""
    tensors = {
        "tau": profile.start.tau,
        "tolerance": profile.start.tolerance,
        "surprise": profile.start.surprise,
        **_statistics_tensors("anchor", profile.start.anchor),
        "support.memory": profile.support.entries.memory.half(),
        "support.pointer": profile.support.entries.pointer.half(),
        "support.present": profile.support.present,
        "support.pooled": profile.support.pooled,
        "calibration.slope": profile.calibration.slope,
        "calibration.offset": profile.calibration.offset,
        **_name_tensors(profile),
        **({} if profile.foreground is None else {"foreground": profile.foreground}),
        **{f"head.{key}": value.half() for key, value in (profile.head or {}).items()},
        **{f"fusion.{key}": value for key, value in profile.fusion.items()},
    }
    header = {
        "format": FORMAT,
        "mode": str(profile.mode),
        "classes": [asdict(spec) for spec in profile.classes],
        "backbone": profile.backbone,
        "backbone_sha256": profile.backbone_sha256,
        "learner": asdict(profile.learner),
        "memory": asdict(profile.memory),
        "ridge": profile.start.ridge,
        "fitted_on": profile.fitted_on,
        "object_offset": profile.object_offset,
        "pixel_weight": None if profile.pixel_names is None else profile.pixel_names.weight,
        "exemplars_alone": None if profile.exemplars is None else profile.exemplars.alone,
        "head_weight": profile.head_weight,
    }
    part = path.with_name(path.name + ".part")
    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    # Written by us: the library's own files can be read by nobody else.
    part.write_bytes(save(contiguous, metadata={"trocar": json.dumps(header, allow_nan=False)}))
    part.replace(path)


def load_profile(profile: str | Path) -> Profile:
    """An embedded profile by name, or a file.

    Raises ProfileError: no such file, truncated, not safetensors (a pickle, say), other format,
    numbers that no fit can have written.
    """
    path = _locate(profile)
    try:
        with safe_open(path, framework="pt") as file:
            header = read_header((file.metadata() or {}).get("trocar", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        reason = _reason(error)
        raise ProfileError(
            f"{path.name}: expected a whole profile in safetensors format, got {reason}"
        ) from error
    found = header.get("format") if isinstance(header, dict) else None
    if found not in (FORMAT, FIRST_FORMAT):
        raise ProfileError(f"{path.name}: expected profile format {FORMAT}, got {found or 'none'}")
    if "lift" in tensors:
        raise ProfileError(f"{path.name}: fitted to a target that is no longer there: fit it again")
    try:
        if found == FIRST_FORMAT:
            header, tensors = _from_first_format(header, tensors)
        check_values(header, tensors)
        return _assemble(header, tensors)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ProfileError(f"{path.name}: profile is incomplete ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _locate(profile: str | Path) -> Path:
    if str(profile) in EMBEDDED_PROFILES:
        return EMBEDDED / f"{profile}.safetensors"
    path = Path(profile)
    if not path.is_file():
        names = ", ".join(EMBEDDED_PROFILES)
        raise ProfileError(f"expected a profile file or one of {names}, found no file {path}")
    return path


def _assemble(header: dict[str, Any], tensors: dict[str, Tensor]) -> Profile:
    support = SupportSet(
        Entries(tensors["support.memory"].float(), tensors["support.pointer"].float()),
        tensors["support.present"],
        tensors["support.pooled"],
    )
    learner = {f.name: header["learner"][f.name] for f in fields(LearnerConfig)}
    learner["context"] = tuple(learner["context"])
    start = LearnerStart(
        tensors["tau"],
        _statistics("anchor", tensors),
        float(header["ridge"]),
        tensors["tolerance"],
        tensors["surprise"],
    )
    return Profile(
        classes=tuple(ClassSpec(**spec) for spec in header["classes"]),
        backbone=header["backbone"],
        backbone_sha256=header["backbone_sha256"],
        learner=LearnerConfig(**learner),
        memory=MemoryConfig(**header["memory"]),
        start=start,
        fusion=_part(tensors, "fusion."),
        support=support,
        calibration=Calibration(tensors["calibration.slope"], tensors["calibration.offset"]),
        fitted_on=dict(header["fitted_on"]),
        mode=Mode(header["mode"]),
        pixel_names=_pixel_names(header, tensors),
        exemplars=_exemplars(header, tensors),
        head_weight=float(header["head_weight"]),
        foreground=tensors.get("foreground"),
        head=_part(tensors, "head.") or None,
        object_offset=float(header["object_offset"]),
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _from_first_format(
    header: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The first format named no mode: what was in the file said which."""
    exemplars = header.get("references")
    weight = 0.0 if exemplars is None else float(exemplars["found_weight"])
    if "foreground" in tensors:
        mode = Mode.FOLLOW
    elif exemplars is None:
        mode = Mode.PIXELS
    else:
        mode = Mode.HEAD if weight >= 1 else Mode.INSTANCES
    renamed = {"reference.description": "exemplar.embedding", "reference.row": "exemplar.class"}
    header = header | {
        "mode": str(mode),
        "pixel_weight": header["naming_weight"],
        "exemplars_alone": None if exemplars is None else exemplars["alone"],
        "head_weight": weight,
    }
    return header, {renamed.get(key, key): value for key, value in tensors.items()}


def _name_tensors(profile: Profile) -> dict[str, Tensor]:
    tensors = {}
    if profile.pixel_names is not None:
        tensors["indicator"] = profile.pixel_names.indicator
        if profile.pixel_names.anchor is not None:
            tensors |= _statistics_tensors("pixels", profile.pixel_names.anchor)
    if profile.exemplars is not None:
        tensors["exemplar.embedding"] = profile.exemplars.embedding
        tensors["exemplar.class"] = profile.exemplars.row
    return tensors


def _pixel_names(header: dict[str, Any], tensors: dict[str, Tensor]) -> PixelNames | None:
    if header["pixel_weight"] is None:
        return None
    anchor = _statistics("pixels", tensors) if "pixels.gram" in tensors else None
    return PixelNames(tensors["indicator"], float(header["pixel_weight"]), anchor)


def _exemplars(header: dict[str, Any], tensors: dict[str, Tensor]) -> Exemplars | None:
    if header["exemplars_alone"] is None:
        return None
    embedding, row = tensors["exemplar.embedding"], tensors["exemplar.class"]
    return Exemplars(embedding, row, float(header["exemplars_alone"]))


def _statistics_tensors(name: str, statistics: Statistics) -> dict[str, Tensor]:
    side = statistics.gram.shape[-1]
    upper = torch.triu_indices(side, side)
    return {
        f"{name}.gram": statistics.gram[:, upper[0], upper[1]],
        f"{name}.cross": statistics.cross,
        f"{name}.energy": statistics.energy,
    }


def _statistics(name: str, tensors: dict[str, Tensor]) -> Statistics:
    """Of weight one."""
    cross, energy = tensors[f"{name}.cross"], tensors[f"{name}.energy"]
    gram = _symmetric(tensors[f"{name}.gram"], cross.shape[-1])
    return Statistics(gram, cross, energy, torch.ones_like(energy))


def _symmetric(upper: Tensor, side: int) -> Tensor:
    index = torch.triu_indices(side, side)
    full = torch.zeros(len(upper), side, side)
    full[:, index[0], index[1]] = upper
    full[:, index[1], index[0]] = upper
    return full
