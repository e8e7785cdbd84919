"""Weights: official SAM2.1 checkpoints (.pt) and our own embedded ones (.safetensors)."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models.config import BACKBONES, BackboneConfig, LearnerConfig, MemoryConfig
from models.errors import CheckpointError
from models.method.model import HEADS, MethodConfig, OflSam2

EMBEDDED = Path(__file__).parents[1] / "weights" / "nano.safetensors"
FORMAT = "trocar-weights-1"
# Prefixes in the file, which keep the first version's words, and in the model.
PREFIXES = {
    "parting.describer.": "instance_head.embedder.",
    "parting.": "instance_head.",
    "clicks.": "click_head.",
}


@dataclass(frozen=True)
class LoadedWeights:
    """A ready model and what identifies its weights.

    sha256: of the file, hexadecimal; pretrained_fusion: does its fusion come from pretraining?
    """

    model: OflSam2
    name: str
    sha256: str
    ridge: float
    pretrained_fusion: bool = False


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_embedded(model: OflSam2, ridge: float, path: Path) -> None:
    """Write backbone and fusion in half precision, replacing the file as a whole."""
    tensors = _in_file({k: v.detach().half().contiguous() for k, v in model.state_dict().items()})
    header = {"format": FORMAT, "backbone": model.config.backbone.name, "ridge": repr(ridge)}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"trocar": json.dumps(header)})
    part.replace(path)


def add_head(path: Path, name: str, head: nn.Module, out: Path) -> None:
    """Write embedded weights with this head, one of HEADS; other tensors stay as they are."""
    header, tensors = _read_safetensors(path)
    kept = {key: value for key, value in tensors.items() if not key.startswith(f"{name}.")}
    added = {f"{name}.{k}": v.detach().half().contiguous() for k, v in head.state_dict().items()}
    part = out.with_suffix(".part")
    save_file(_in_file({**kept, **added}), part, metadata={"trocar": json.dumps(header)})
    part.replace(out)


def load_embedded(
    path: Path = EMBEDDED,
    learner: LearnerConfig | None = None,
    memory: MemoryConfig | None = None,
) -> LoadedWeights:
    """Our own weights, strictly.

    Raises CheckpointError: missing, damaged, of another format, or with other keys or shapes.
    """
    header, tensors = _read_safetensors(path)
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path.name}: expected format {FORMAT}, got {header.get('format')}")
    backbone = _backbone_named(header.get("backbone", ""))
    heads = tuple(n for n in HEADS if any(key.startswith(f"{n}.") for key in tensors))
    config = MethodConfig(backbone, learner or LearnerConfig(), memory or MemoryConfig(), heads)
    model = OflSam2(config)
    _load_strictly(model, {k: v.float() for k, v in tensors.items()}, path)
    model.eval().requires_grad_(False)
    ridge = float(header.get("ridge", 1e-2))
    return LoadedWeights(model, backbone.name, sha256_of(path), ridge, pretrained_fusion=True)


def load_official(
    path: Path,
    backbone: BackboneConfig,
    *,
    sha256: str | None = None,
    learner: LearnerConfig | None = None,
    memory: MemoryConfig | None = None,
) -> LoadedWeights:
    """An official SAM2.1 checkpoint: {"model": state dict}, loaded without unpickling code.

    Raises CheckpointError: missing, damaged, hash other than `sha256`, or other keys or shapes.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a SAM2.1 checkpoint at {path}, found no file")
    digest = sha256_of(path)
    if sha256 is not None and digest != sha256:
        raise CheckpointError(f"{path.name}: expected SHA-256 {sha256}, got {digest}")
    try:
        # Mapped, not read: a large network's weights would be in memory twice.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path.name}: not a safe torch checkpoint ({reason})") from error
    if not isinstance(content, dict) or not _is_state_dict(content.get("model")):
        raise CheckpointError(f'{path.name}: expected {{"model": state dict}}, got other content')
    model = OflSam2(MethodConfig(backbone, learner or LearnerConfig(), memory or MemoryConfig()))
    _load_strictly(model.backbone.sam, content["model"], path)
    model.eval().requires_grad_(False)
    return LoadedWeights(model, backbone.name, digest, ridge=1e-2)


def _is_state_dict(content: object) -> bool:
    return isinstance(content, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )


def _backbone_named(name: str) -> BackboneConfig:
    if name not in BACKBONES:
        raise CheckpointError(f"expected a backbone of {', '.join(BACKBONES)}, got {name!r}")
    return BACKBONES[name]


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"expected weights at {path}, found no file")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("trocar", "{}"))
            tensors = {_in_model(key): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return header, tensors
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path.name}: not a whole safetensors file ({error})") from error


def _in_model(key: str) -> str:
    for prefix, own in PREFIXES.items():
        if key.startswith(prefix):
            return own + key.removeprefix(prefix)
    return key


def _in_file(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in tensors.items():
        for prefix, own in PREFIXES.items():
            if key.startswith(own):
                key = prefix + key.removeprefix(own)
                break
        renamed[key] = value
    return renamed


def _load_strictly(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        which = f"missing {missing[0]}" if missing else f"unexpected {extra[0]}"
        raise CheckpointError(
            f"{path.name}: expected {len(wanted)} tensors; {len(missing)} missing, "
            f"{len(extra)} unexpected (first: {which})"
        )
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise CheckpointError(
                f"{path.name}: {key} should be {tuple(wanted[key].shape)}, is {tuple(value.shape)}"
            )
    module.load_state_dict(tensors)
