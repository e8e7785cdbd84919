"""Retrieval with volumetric memory: each frame looks up the annotated frames it resembles.

For every frame and class the `SIMILAR` annotated frames that show the class and whose feature is
nearest, place by place (Manhattan distance on the stride-16 feature), stand in memory beside the
sequence's own recent answers, all of them, sure or not. FATE-SAM also takes memories from slices
behind the present one; a stream has only its past. Idea: FATE-SAM (He et al. 2025).
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.comparators.interface import FitSettings
from benchmarks.comparators.support_memory import answer, choose_offset, without
from models.backbone.image_input import class_map, to_input
from models.backbone.memory_bank import BankShape, Entries, MemoryBank
from models.backbone.sam2 import DecodedMasks
from models.config import MemoryConfig
from models.fitting.annotated import AnnotatedFrames
from models.fitting.encoded import encode_frames, frame_features
from models.fitting.validation import HeldOut
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2
from models.types import ClassSpec, UInt8Array

SIMILAR = 3  # FATE-SAM's number


class AnnotatedMemory:
    """What can be looked up.

    entries: memory (C, N, M, h, w), pointer (C, N, D); present: (C, N); feature: (N, D, h, w)
    """

    def __init__(self, entries: Entries, present: Tensor, feature: Tensor) -> None:
        self.entries, self.present, self.feature = entries, present, feature

    def nearest(self, row: int, feature: Tensor, present: Tensor) -> Entries:
        """Entries of the frames nearest to this one, nearest first. feature: (1, D, h, w)"""
        distance = (self.feature - feature).abs().mean(dim=(1, 2, 3))
        distance = distance.masked_fill(~present[row], float("inf"))
        count = min(SIMILAR, int(present[row].sum()))
        best = distance.topk(count, largest=False).indices
        return Entries(self.entries.memory[row, best], self.entries.pointer[row, best])


def fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> Retrieval:
    """Memories and features of the annotated frames, and the object score's offset."""
    model = weights.model
    encoded = encode_frames(model, frames)
    known = AnnotatedMemory(encoded.entries, encoded.present, encoded.features.stride16)

    def ask(out: HeldOut) -> DecodedMasks:
        seen = frame_features(encoded, out.frame)
        bank = _empty_bank(model, len(known.present), recent=False)
        _look_up(bank, known, seen.stride16, without(known.present, out))
        return answer(model, seen, bank.tensors(0))

    offset = choose_offset(encoded, ask, settings.seed)
    return Retrieval(model, tuple(s.class_id for s in classes), known, offset)


class Retrieval:
    """Looked-up annotated frames and the last answers in one bank."""

    def __init__(
        self, model: OflSam2, class_ids: tuple[int, ...], known: AnnotatedMemory, offset: float
    ) -> None:
        self._model, self._class_ids = model, list(class_ids)
        self._known, self._offset = known, offset
        self.start()

    def start(self) -> None:
        """No answers yet."""
        self._bank = _empty_bank(self._model, len(self._class_ids), recent=True)
        self._frame = 0

    @torch.inference_mode()
    def step(self, image_rgb: UInt8Array) -> UInt8Array:
        """Look up, answer, remember."""
        backbone = self._model.backbone
        image = backbone.normalize(to_input(image_rgb, backbone.config.image_size))
        features = backbone.encode_image(image)
        _look_up(self._bank, self._known, features.stride16, self._known.present)
        decoded = answer(self._model, features, self._bank.tensors(self._frame))
        decoded = decoded.shifted(self._offset)
        logits, present = decoded.gated(), decoded.object_logit > 0
        memory = backbone.encode_memory(features.stride16, logits, present)
        rows = torch.arange(len(memory))
        self._bank.push(rows, Entries(memory, decoded.pointer), self._frame)
        self._frame += 1
        return class_map(logits[:, 0].numpy(), self._class_ids, image_rgb.shape[:2])


def _empty_bank(model: OflSam2, rows: int, *, recent: bool) -> MemoryBank:
    memory = MemoryConfig(support=SIMILAR, recent=None if recent else 0)
    shape = BankShape.of(rows, memory, model.config.backbone)
    return MemoryBank(shape, memory.max_pointer_distance)


def _look_up(bank: MemoryBank, known: AnnotatedMemory, feature: Tensor, present: Tensor) -> None:
    for row in range(len(present)):
        bank.set_support(row, known.nearest(row, feature, present))
