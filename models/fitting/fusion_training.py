"""The start of the fusion, and its training on frames that are left out in turn."""

from __future__ import annotations

import torch
from torch import Tensor

from models.backbone.prediction import Prediction
from models.config import FitConfig
from models.fitting.validation import Inference, LeftOut, held_out_score, where_counted
from models.learner.losses import mask_loss, quality_loss
from models.method.model import OflSam2

MAPPED_ALONE = -8.0  # bias of the fusion gate from which nothing but E2 passes


def train_fusion(model: OflSam2, left_out: LeftOut, config: FitConfig) -> int:
    """The start of the fusion, and AdamW on it for `config.epochs`. Returns epochs run.

    It starts from the pretrained gate, or from one that lets only the mapping network through if
    that segments the held-out frames better: neither has seen them. Every fourth validates.
    """
    count = len(left_out.features)
    if count < 4:
        return 0
    pretrained = _copy_state(model)
    mapped = {key: torch.zeros_like(value) for key, value in pretrained.items()}
    mapped["gate.bias"] += MAPPED_ALONE

    def score(state: dict[str, Tensor]) -> float:
        model.fusion.load_state_dict(state)
        return held_out_score(model, left_out, Inference())

    start = max((pretrained, mapped), key=score)
    model.fusion.load_state_dict(start)
    if not config.epochs:
        return 0
    order = torch.randperm(count).tolist()
    validate, train = order[::4], [n for n in order if n not in order[::4]]
    optimizer = torch.optim.AdamW(model.fusion.parameters(), lr=config.rate)
    best, best_loss = _copy_state(model), _fusion_loss(model, left_out, validate)
    waited, epochs = 0, 0
    while epochs < config.epochs and waited < config.patience:
        for frame in train:
            optimizer.zero_grad(set_to_none=True)
            loss = _frame_loss(model, left_out, frame)
            loss.backward()
            optimizer.step()
        loss_now = _fusion_loss(model, left_out, validate)
        if loss_now < best_loss:
            best, best_loss, waited = _copy_state(model), loss_now, 0
        else:
            waited += 1
        epochs += 1
    model.fusion.load_state_dict(best)
    return epochs


def _copy_state(model: OflSam2) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.fusion.state_dict().items()}


def _frame_loss(model: OflSam2, left_out: LeftOut, frame: int) -> Tensor:
    fused = model.fusion(left_out.attended[frame], left_out.mapped[frame])
    decoded = model.backbone.decode_masks(fused, left_out.features[frame])
    logits = where_counted(Prediction.of(decoded), left_out.counted[frame]).mask_logits
    mask = left_out.mask[frame][:, None]
    quality = quality_loss(decoded.iou, decoded.object_logit, logits, mask)
    return (mask_loss(logits, mask) + quality).mean()


@torch.no_grad()
def _fusion_loss(model: OflSam2, left_out: LeftOut, frames: list[int]) -> float:
    return sum(float(_frame_loss(model, left_out, frame)) for frame in frames) / len(frames)
