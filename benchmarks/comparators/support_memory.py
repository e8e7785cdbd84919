"""Support memory alone, no learner: annotated frames stand in SAM2's memory in a prompt's place.

Each frame of a sequence is asked by itself against the K annotated frames most like the first one,
as in OFL-SAM2, and nothing is learnt or updated. The offset of the object score is chosen by
leaving annotated frames out with their clips, as ours is. Idea: FS-MedSAM2 (Bai et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.comparators.interface import FitSettings
from models.backbone.image_input import class_map, to_input
from models.backbone.memory_attention import BankTensors
from models.backbone.memory_bank import BankShape, MemoryBank
from models.backbone.prediction import Prediction
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.config import FitConfig, MemoryConfig
from models.fitting.annotated import AnnotatedFrames
from models.fitting.encoded import EncodedFrames, encode_frames, frame_features
from models.fitting.validation import (
    OBJECT_OFFSETS,
    HeldOut,
    exclusive_dsc,
    held_out_frames,
    where_counted,
)
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2
from models.method.profile import SupportSet, pool_features
from models.types import ClassSpec, UInt8Array

Ask = Callable[[HeldOut], DecodedMasks]  # its frame's answer, from the frames it leaves
UNTESTED_OFFSET = 0.0  # SAM2 as it is, where no frame can be left out


def fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> SupportMemory:
    """Memories of the annotated frames, and the object score's offset."""
    encoded = encode_frames(weights.model, frames)
    pooled = pool_features(encoded.features.stride16)
    support = SupportSet(encoded.entries, encoded.present, pooled)
    memory = weights.model.config.memory

    def ask(out: HeldOut) -> DecodedMasks:
        others = replace(support, present=without(encoded.present, out))
        bank = similar_bank(weights.model, others, pooled[out.frame], memory)
        return answer(weights.model, frame_features(encoded, out.frame), bank)

    offset = choose_offset(encoded, ask, settings.seed)
    return SupportMemory(weights.model, tuple(s.class_id for s in classes), support, offset)


class SupportMemory:
    """The annotated frames most like a sequence's first one, and nothing else."""

    def __init__(
        self, model: OflSam2, class_ids: tuple[int, ...], support: SupportSet, offset: float
    ) -> None:
        self._model, self._class_ids = model, list(class_ids)
        self._support, self._offset = support, offset
        self._bank: BankTensors | None = None

    def start(self) -> None:
        """The next frame chooses the annotated frames again."""
        self._bank = None

    @torch.inference_mode()
    def step(self, image_rgb: UInt8Array) -> UInt8Array:
        """Ask the frame by itself."""
        backbone = self._model.backbone
        image = backbone.normalize(to_input(image_rgb, backbone.config.image_size))
        features = backbone.encode_image(image)
        if self._bank is None:
            pooled = pool_features(features.stride16)[0]
            memory = self._model.config.memory
            self._bank = similar_bank(self._model, self._support, pooled, memory)
        decoded = answer(self._model, features, self._bank).shifted(self._offset)
        return class_map(decoded.gated()[:, 0].numpy(), self._class_ids, image_rgb.shape[:2])


def similar_bank(
    model: OflSam2, support: SupportSet, pooled: Tensor, memory: MemoryConfig
) -> BankTensors:
    """K annotated frames most like this one, for every class. pooled: (D,)"""
    rows = len(support.present)
    shape = BankShape(rows, memory.support, 0, model.config.backbone)
    bank = MemoryBank(shape, memory.max_pointer_distance)
    for row in range(rows):
        bank.set_support(row, support.most_similar(row, pooled, memory.support))
    return bank.tensors(0)


def answer(model: OflSam2, features: ImageFeatures, bank: BankTensors) -> DecodedMasks:
    """One frame against a bank, nothing fused."""
    attended = model.backbone.attend_memory(features.stride16, bank)
    return model.backbone.decode_masks(attended, features)


def without(present: Tensor, out: HeldOut) -> Tensor:
    """present: (C, N) bool -> the same with what is left out showing nothing."""
    kept = present.clone()
    kept[:, list(out.without)] = False
    return kept


@torch.no_grad()
def choose_offset(encoded: EncodedFrames, ask: Ask, seed: int) -> float:
    """The offset of the object score with which left-out annotated frames are segmented best."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        held_out = held_out_frames(encoded, FitConfig())
    if not held_out:
        return UNTESTED_OFFSET
    decoded = {out.frame: ask(out) for out in held_out}

    def score(offset: float) -> float:
        found = [
            exclusive_dsc(
                where_counted(Prediction.of(one.shifted(offset)), encoded.counted[frame]),
                encoded.mask[:, frame].float(),
            ).mean()
            for frame, one in decoded.items()
        ]
        return float(torch.stack(found).mean())

    return max(OBJECT_OFFSETS, key=score)
