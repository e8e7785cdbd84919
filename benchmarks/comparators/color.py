"""The floor: colour statistics alone, a Gaussian a class over the tokens of the annotated frames.

Each 16x16 token is described by mean and spread of its colour, near and around; background and each
class get a mean, a covariance and their share of the tokens as a prior. Whatever uses a network
should beat this.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.comparators.dense import DensePredictor, labels_of
from benchmarks.comparators.interface import FitSettings, Predictor
from models.backbone.token_color import token_color, window_mean
from models.fitting.annotated import AnnotatedFrames
from models.method.checkpoint import LoadedWeights
from models.types import ClassSpec

SHRINK = 0.1  # of a covariance towards the pooled one: few tokens show a small class
LEAST_TOKENS = 12.0  # below as many a class is described by the pooled covariance alone


def fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> Predictor:
    """In closed form."""
    backbone = weights.model.backbone
    grid = backbone.config.grid
    image = backbone.normalize(torch.from_numpy(frames.image).permute(0, 3, 1, 2).float())
    colors = embed(image, grid).transpose(0, 1).flatten(1).T  # (N h w, d)
    share = torch.nn.functional.one_hot(labels_of(frames), len(classes) + 1).movedim(-1, 1)
    weight = torch.nn.functional.adaptive_avg_pool2d(share.float(), grid)
    gaussians = Gaussians(colors, weight.transpose(0, 1).flatten(1))

    def network(frame: Tensor) -> Tensor:
        embedding = embed(frame, grid)
        score = gaussians.log_density(embedding.flatten(2)[0].T)  # (h w, C + 1)
        logits: Tensor = (score[:, 1:] - score[:, :1]).T.unflatten(1, (grid, grid))[None]
        return logits

    return DensePredictor(network, backbone, [spec.class_id for spec in classes])


def embed(image: Tensor, grid: int) -> Tensor:
    """(B, 3, S, S) normalised -> (B, 12, grid, grid)"""
    near = token_color(image, grid)
    return torch.cat([near, window_mean(near, 5)], dim=1)


class Gaussians:
    """One Gaussian a class. colors: (n, d); weight: (C + 1, n) share of each class in a token"""

    def __init__(self, colors: Tensor, weight: Tensor) -> None:
        total = weight.sum(dim=1).clamp_min(1e-3)
        self._prior = (total / total.sum()).log()
        self._mean = weight @ colors / total[:, None]
        apart = colors[None] - self._mean[:, None]  # (C + 1, n, d)
        scatter = (apart * weight[..., None]).transpose(1, 2) @ apart
        pooled = scatter.sum(dim=0) / total.sum()
        keep = torch.where(total < LEAST_TOKENS, 1.0, SHRINK)[:, None, None]
        covariance = (scatter / total[:, None, None]).lerp(pooled.expand_as(scatter), keep)
        covariance = covariance + 1e-3 * torch.eye(colors.shape[1])
        self._factor = torch.linalg.cholesky(covariance)

    def log_density(self, colors: Tensor) -> Tensor:
        """Joint with the prior. (n, d) -> (n, C + 1)"""
        apart = (colors[None] - self._mean[:, None]).transpose(1, 2)
        solved = torch.linalg.solve_triangular(self._factor, apart, upper=False)
        spread = self._factor.diagonal(dim1=1, dim2=2).log().sum(dim=1, keepdim=True)
        density: Tensor = (self._prior[:, None] - spread - 0.5 * solved.square().sum(dim=1)).T
        return density
