"""Losses of pretraining and of fitting a profile."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(mask_logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice where the class is visible, cross-entropy alone elsewhere.

    mask_logits: (N, 1, h, w) real; mask: (N, 1, *, *) 0 to 1, averaged down to (h, w)
    returns: (N,)
    """
    target = F.adaptive_avg_pool2d(mask, mask_logits.shape[-1])
    entropy = F.binary_cross_entropy_with_logits(mask_logits, target, reduction="none")
    prob = mask_logits.sigmoid()
    overlap = (prob * target).sum(dim=(1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (prob.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3)) + 1)
    visible = (target.amax(dim=(1, 2, 3)) > 0.5).float()
    return 4 * entropy.mean(dim=(1, 2, 3)) + visible * dice


def quality_loss(iou: Tensor, object_logit: Tensor, mask_logits: Tensor, mask: Tensor) -> Tensor:
    """Teaches the predicted IoU and the object score.

    iou, object_logit: (N,); mask_logits, mask as in mask_loss; returns (N,)
    """
    target = F.adaptive_avg_pool2d(mask, mask_logits.shape[-1])
    present = (target.amax(dim=(1, 2, 3)) > 0.5).float()
    with torch.no_grad():
        found, truth = mask_logits > 0, target > 0.5
        union = (found | truth).sum(dim=(1, 2, 3)).clamp_min(1)
        reached = (found & truth).sum(dim=(1, 2, 3)) / union
    shown = F.binary_cross_entropy_with_logits(object_logit, present, reduction="none")
    return present * (iou - reached).abs() + shown


def region_contrast(descriptor: Tensor, group: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Regions of one kind in one procedure agree across clips; other kinds there are apart.

    descriptor: (n, D) unit length; group: (n,) procedure; label: (n,) kind; returns a scalar
    """
    similarity = descriptor @ descriptor.T / temperature
    itself = torch.eye(len(group), dtype=torch.bool)
    together = (group[:, None] == group[None]) & ~itself
    same = together & (label[:, None] == label[None])
    usable = same.any(dim=1) & (together & ~same).any(dim=1)
    if not bool(usable.any()):
        return descriptor.sum() * 0
    log_prob = similarity - similarity.masked_fill(~together, -1e4).logsumexp(dim=1, keepdim=True)
    per_region = -(log_prob * same).sum(dim=1) / same.sum(dim=1).clamp_min(1)
    return per_region[usable].mean()
