"""What held-out frames say of confidence, and of the losses that the learner's guard expects."""

from __future__ import annotations

import torch
from torch import Tensor

from models.config import LearnerConfig
from models.fitting.encoded import (
    EncodedFrames,
    frame_statistics,
    statistics_without,
    total_statistics,
)
from models.fitting.validation import (
    HeldOut,
    Inference,
    LeftOut,
    exclusive_dsc,
    predict_left_out,
)
from models.learner.mapping_network import descend, mapping_loss, ridge_solution
from models.method.model import OflSam2
from models.method.profile import Calibration

PRIOR, INSTANCE_PRIOR = 2.0, 20.0  # of the calibration, in samples; the latter is fitted already
USUAL = 0.9  # share of true annotations whose loss the guard takes for usual


@torch.no_grad()
def calibrate(
    model: OflSam2, left_out: LeftOut, rows: int, inference: Inference
) -> tuple[Calibration, list[float]]:
    """Confidence against held-out DSC, per class; and the held-out DSC where visible."""
    raw, dsc, shown, drawn = [], [], [], []
    for frame in range(len(left_out.features)):
        found = predict_left_out(model, left_out, frame, inference)
        raw.append(found.raw)
        drawn.append((found.gated() > 0).flatten(1).any(dim=1))
        dsc.append(exclusive_dsc(found, left_out.mask[frame]))
        shown.append(left_out.mask[frame].flatten(1).any(dim=1))
    if not raw:
        return Calibration(torch.ones(rows), torch.zeros(rows)), [float("nan")] * rows
    scores, truth, visible = torch.stack(raw), torch.stack(dsc), torch.stack(shown)
    prior = PRIOR if not inference.mode.instances or rows == 1 else INSTANCE_PRIOR
    logit = torch.logit(scores.clamp(1e-4, 1 - 1e-4))
    slope, offset = _logistic(logit, truth, torch.stack(drawn).float(), prior)
    reached = [float(truth[visible[:, r], r].mean()) for r in range(rows)]
    return Calibration(slope, offset), reached


def _logistic(
    score: Tensor, truth: Tensor, counted: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """Per column, slope and offset of a logistic regression with a prior at (1, 0), by Newton.

    score, truth: (n, C); counted: (n, C) 0 or 1, what is not drawn needs no confidence
    weight: of the prior, in samples, so that few frames cannot run away
    """
    with torch.inference_mode(mode=False):
        features = torch.stack([score, torch.ones_like(score)], dim=-1).transpose(0, 1)  # (C, n, 2)
        wanted, used = truth.T, counted.T[..., None]
        prior = torch.tensor([1.0, 0.0])
        weights = prior.repeat(len(features), 1)
        for _ in range(30):
            prob = torch.sigmoid((features @ weights[..., None])[..., 0])
            gradient = ((prob - wanted)[..., None] * used * features).sum(1) + weight * (
                weights - prior
            )
            curve = (prob * (1 - prob)).clamp_min(1e-3)[..., None, None]
            hessian = (
                curve * used[..., None] * features[..., :, None] * features[..., None, :]
            ).sum(1)
            hessian = hessian + weight * torch.eye(2)
            weights = weights - torch.linalg.solve(hessian, gradient[..., None])[..., 0]
    return weights[:, 0].clamp_min(0.2), weights[:, 1]


def guard_limits(
    encoded: EncodedFrames, held_out: list[HeldOut], ridge: float, learner: LearnerConfig
) -> tuple[Tensor, Tensor]:
    """What true annotations do when they arrive as an online frame, measured by leaving frames out.

    returns: the largest rise of the loss on the other frames, at least the configured tolerance,
             and a quarter more than the loss that nine in ten of such frames stay under before they
             are learnt (one odd annotation must not make the guard believe anything); (C,)
    """
    rows = len(encoded.present)
    rise = torch.full((rows,), learner.tolerance)
    losses = [torch.full((rows,), float("nan"))]
    total = total_statistics(encoded)
    share = torch.full((rows,), learner.decay * (1 - learner.support_weight))
    for out in held_out if encoded.present.shape[1] > 1 else []:
        seen = encoded.present[:, out.frame]
        fresh = frame_statistics(encoded, out.frame)
        others = statistics_without(encoded, total, out.without)
        tau = ridge_solution(others, ridge)
        moved = others.mixed(fresh.normalized(), share)
        after = descend(tau, moved, ridge, learner.online_iterations)
        risen = mapping_loss(after, others) / mapping_loss(tau, others).clamp_min(1e-9) - 1
        rise = torch.where(seen, torch.maximum(rise, risen), rise)
        loss = mapping_loss(tau, fresh.normalized())
        losses.append(torch.where(seen, loss, float("nan")))
    surprise = 1.25 * torch.nanquantile(torch.stack(losses), USUAL, dim=0)
    return rise, surprise.nan_to_num(float("inf"))
