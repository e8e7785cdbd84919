"""The frozen SAM2 as stateless functions of static shape.

encode_image, attend_memory, decode_masks, encode_memory. Every class is one row of the batch.
Nothing here remembers anything: what is remembered lives in the memory bank and comes in as
`BankTensors`. Memory attention has a file of its own. The prompt encoder is gone from the path: its
"no prompt" embeddings are constants. A test holds each function against the package's own code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone.architecture import build_sam2
from models.backbone.memory_attention import BankTensors, MemoryAttention
from models.config import BackboneConfig

Found = TypeVar("Found")
KEPT_DEVICES = 4
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
NO_OBJECT_LOGIT = -1024.0


@dataclass(frozen=True)
class ImageFeatures:
    """Features of B frames.

    stride16: (B, D, h, w); stride8: (B, D/4, 2h, 2w); stride4: (B, D/8, 4h, 4w)
    """

    stride16: Tensor
    stride8: Tensor
    stride4: Tensor

    def rows(self, index: Tensor) -> ImageFeatures:
        """One frame per class row. index: (C,) long"""
        return ImageFeatures(self.stride16[index], self.stride8[index], self.stride4[index])


@dataclass(frozen=True)
class DecodedMasks:
    """Mask decoder output for C rows.

    mask_logits: (C, 1, 4h, 4w); iou: (C,) predicted IoU, 0 to 1
    object_logit: (C,) is the class in the frame at all; pointer: (C, D)
    """

    mask_logits: Tensor
    iou: Tensor
    object_logit: Tensor
    pointer: Tensor

    def shifted(self, offset: float) -> DecodedMasks:
        """The same with the object score moved by an offset."""
        return replace(self, object_logit=self.object_logit + offset)

    def gated(self) -> Tensor:
        """Mask logits with absent rows emptied, as SAM2 does. (C, 1, 4h, 4w)"""
        present = (self.object_logit > 0)[:, None, None, None]
        return torch.where(present, self.mask_logits, NO_OBJECT_LOGIT)


class Backbone(MemoryAttention):
    """A SAM2 network and the functions that the tracker calls."""

    own_threads = False  # it runs on torch's
    own_pictures = False
    keeps_keys = False
    see_instruments = None  # the head runs itself

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config, build_sam2(config))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return cast(Tensor, self.rope_cos).device

    def freeze(self) -> Backbone:
        """Evaluation mode, no gradients."""
        self.eval()
        return self.requires_grad_(False)

    def normalize(self, image: Tensor) -> Tensor:
        """image: (B, 3, S, S) RGB 0 to 255 -> normalised as SAM2 was trained."""
        shift, scale = _normalisation(image.device)
        return torch.addcmul(shift, image, scale)

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """image: (B, 3, S, S) normalised."""
        out = self.sam.forward_image(image)
        stride4, stride8, stride16 = out["backbone_fpn"]
        return ImageFeatures(stride16, stride8, stride4)

    def memories_changed(self, bank: BankTensors) -> None:
        """See Engine: nothing is kept here."""

    def compiled(self, function: nn.Module, *_: Tensor) -> nn.Module:
        """See Engine: as it is."""
        return function

    def recorded(self, step: Callable[..., Found], *_: Any) -> Callable[..., Found]:
        """See Engine: as it is."""
        return step

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """conditioned: (C, D, h, w); features of 1 or C frames, for their fine levels."""
        multimask = self.config.multimask
        return self._decode(conditioned, features, self._no_mask_embedding(), multimask=multimask)

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """Turn a frame and its masks into memories.

        features: (1 or C, D, h, w); mask_logits: (C, 1, *, *) any size, real; present: (C,) bool
        returns:  (C, M, h, w)
        """
        encoder = self.sam.memory_encoder
        mask = enlarged(mask_logits, self.config.image_size).sigmoid() * 20.0 - 10.0
        memory = encoder.pix_feat_proj(features) + encoder.mask_downsampler(mask)
        memory = encoder.out_proj(encoder.fuser(memory))
        absent = self.sam.no_obj_embed_spatial[..., None, None]
        return cast(Tensor, memory + (~present)[:, None, None, None].to(memory.dtype) * absent)

    def prompted_pointer(self, features: ImageFeatures, mask: Tensor) -> Tensor:
        """Object pointer of a given mask (annotated frames only).

        features of C frames; mask: (C, 1, S, S) float 0 or 1; returns (C, D)
        """
        prompt = self.sam.mask_downsample(mask)
        size = self.sam.sam_prompt_encoder.mask_input_size
        prompt = F.interpolate(
            prompt.float(), size=size, mode="bilinear", align_corners=False, antialias=True
        )
        dense = self.sam.sam_prompt_encoder.mask_downscaling(prompt)
        decoded = self._decode(features.stride16, features, dense, multimask=False)
        present = mask.flatten(1).amax(dim=1) > 0.5
        return self._gate_pointer(decoded.pointer, present)

    def _decode(
        self, conditioned: Tensor, features: ImageFeatures, dense: Tensor, *, multimask: bool
    ) -> DecodedMasks:
        rows = conditioned.shape[0]
        decoder, prompts = self.sam.sam_mask_decoder, self.sam.sam_prompt_encoder
        no_point = prompts.not_a_point_embed.weight
        masks, iou, tokens, object_logit = decoder(
            image_embeddings=conditioned,
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=no_point.expand(rows, 2, -1),
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=[features.stride4, features.stride8],
        )
        best = iou.argmax(dim=1)
        row = torch.arange(rows, device=iou.device)
        token = tokens[row, best if tokens.shape[1] > 1 else 0]
        pointer = self.sam.obj_ptr_proj(token)
        return DecodedMasks(
            mask_logits=masks[row, best][:, None].float(),
            iou=iou[row, best].float(),
            object_logit=object_logit[:, 0].float(),
            pointer=self._gate_pointer(pointer, object_logit[:, 0] > 0),
        )

    def _gate_pointer(self, pointer: Tensor, present: Tensor) -> Tensor:
        return torch.where(present[:, None], pointer, self.sam.no_obj_ptr.to(pointer.dtype))

    def _no_mask_embedding(self) -> Tensor:
        weight = self.sam.sam_prompt_encoder.no_mask_embed.weight
        return cast(Tensor, weight.view(1, -1, 1, 1))


@functools.lru_cache(maxsize=KEPT_DEVICES)
def _normalisation(device: torch.device) -> tuple[Tensor, Tensor]:
    """What is added and multiplied, (1, 3, 1, 1) each; sent to a device once, not with a frame."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (IMAGE_MEAN, IMAGE_STD))
        return (-mean / std).to(device), (1 / (255.0 * std)).to(device)


def enlarged(mask_logits: Tensor, size: int) -> Tensor:
    """Mask logits at the network's input size. (C, 1, *, *) -> (C, 1, size, size)"""
    if mask_logits.shape[-1] == size:
        return mask_logits
    logits = mask_logits.float()
    return F.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)
