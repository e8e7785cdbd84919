"""The mapping network T_tau: one convolution per class, fitted in closed form and by descent.

T_tau maps a frame's own features to the target feature, the memory-conditioned feature that SAM2
would compute if it had the frame's true mask in memory. It is linear in its weights, so

    L(T) = 1/2 sum_k || s_k (T phi_k - e_k) ||^2 + ridge/2 ||T||^2

needs no autograd. With M = sum s^2 phi phi' + ridge I and B = sum s^2 e phi', the gradient is
G = T M - B and the exact step length <G, G> / <G, G M>; G itself follows by G - alpha G M, one
product per iteration (the Gram form). The cost does not depend on how many samples were seen, and
no frame has to be kept. `descend_convolution` is the same descent over stored samples and serves
as the oracle. Sources: Bhat et al., Learning What to Learn for VOS (ECCV 2020), section 3.3;
OFL-SAM2, arXiv 2512.24861.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.token_color import window_mean
from models.config import LearnerConfig


def describe_tokens(stride16: Tensor, color: Tensor, config: LearnerConfig) -> Tensor:
    """What the mapping network sees of each token.

    stride16: (B, D, h, w); color: (B, 6, h, w) by token_color, used if the configuration says so
    returns:  (B, d, h, w): the token's feature at unit scale, its averages over the context
              windows, mean and spread of its colour near and far, and a constant one
    """
    token = stride16 * torch.rsqrt(stride16.square().mean(dim=1, keepdim=True) + 1e-6)
    parts = [token, *(window_mean(token, side) for side in config.context)]
    if config.color:
        parts.extend([color, window_mean(color, 5)])
    parts.append(torch.ones_like(token[:, :1]))
    token_features = torch.cat(parts, dim=1)
    if config.kernel == 1:
        return token_features
    batch, _, height, width = token_features.shape
    patches = F.unfold(token_features, config.kernel, padding=config.kernel // 2)
    return patches.reshape(batch, -1, height, width)


def token_weights(mask: Tensor, grid: int, counted: Tensor | None = None) -> Tensor:
    """Squared sample weights: instrument and background count the same, whatever their areas.

    mask: (..., S, S) 0 to 1; counted: the same shape, 0 where it is not known; None: all is known
    returns (..., grid * grid), each frame sums to one, or is zero where nothing is known
    """
    lead, shape = mask.shape[:-2], (-1, 1, *mask.shape[-2:])
    cover = F.adaptive_avg_pool2d(mask.reshape(shape), grid).flatten(1)
    rest = 1 - cover
    if counted is not None:
        known = F.adaptive_avg_pool2d(counted.expand_as(mask).reshape(shape), grid).flatten(1)
        rest = (known - cover).clamp_min(0)
    inside = cover / cover.sum(dim=1, keepdim=True).clamp_min(1.0)
    outside = rest / rest.sum(dim=1, keepdim=True).clamp_min(1.0)
    weight = inside + outside
    return (weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-6)).reshape(*lead, -1)


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of R mapping problems; additive, so a frame can be left out again.

    gram: (R, d, d); cross: (R, D, d); energy: (R,) weighted squared norm of the targets
    weight: (R,) total sample weight
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor
    weight: Tensor

    @classmethod
    def of(cls, token_features: Tensor, target: Tensor, weight: Tensor) -> Statistics:
        """Statistics of F frames.

        described: (R or 1, F, d, n); target: (R, F, D, n); weight: (R, F, n)
        """
        phi = token_features.transpose(1, 2).flatten(2)  # (R or 1, F, d, n) -> (R or 1, d, F n)
        wanted = target.transpose(1, 2).flatten(2)  # (R, F, D, n) -> (R, D, F n)
        scale = weight.flatten(1)[:, None]
        weighted = phi * scale
        return cls(
            gram=weighted @ phi.transpose(1, 2),
            cross=wanted @ weighted.transpose(1, 2),
            energy=(wanted.square() * scale).sum(dim=(1, 2)),
            weight=weight.sum(dim=(1, 2)),
        )

    def mixed(self, other: Statistics, share: Tensor) -> Statistics:
        """Mean statistics with `share` (R,) of the total weight given to `other`."""

        def mix(own: Tensor, theirs: Tensor) -> Tensor:
            return own.lerp(theirs, share.view(-1, *[1] * (own.dim() - 1)))

        return Statistics(
            mix(self.gram, other.gram),
            mix(self.cross, other.cross),
            mix(self.energy, other.energy),
            mix(self.weight, other.weight),
        )

    def normalized(self) -> Statistics:
        """The same, with total weight one."""
        return self.scaled(1 / self.weight.clamp_min(1e-12))

    def scaled(self, factor: Tensor) -> Statistics:
        """Every row multiplied by its factor (R,)."""
        return Statistics(
            self.gram * factor[:, None, None],
            self.cross * factor[:, None, None],
            self.energy * factor,
            self.weight * factor,
        )

    def plus(self, other: Statistics) -> Statistics:
        """The samples of both."""
        return Statistics(
            self.gram + other.gram,
            self.cross + other.cross,
            self.energy + other.energy,
            self.weight + other.weight,
        )

    def minus(self, other: Statistics) -> Statistics:
        """Without the samples of `other`."""
        return Statistics(
            self.gram - other.gram,
            self.cross - other.cross,
            self.energy - other.energy,
            self.weight - other.weight,
        )

    def rows(self, index: Tensor | slice) -> Statistics:
        """Only these rows: a copy, or a view for a slice. index: (n,) long or (R,) bool"""
        return Statistics(
            self.gram[index], self.cross[index], self.energy[index], self.weight[index]
        )


@dataclass(frozen=True)
class Sample:
    """A frame taken as true, for n classes.

    token_features: (1, d, hw); target: (n, D, hw); weight: (n, hw), sums to one for a class
    """

    token_features: Tensor
    target: Tensor
    weight: Tensor

    def statistics(self) -> Statistics:
        """Of weight one."""
        return Statistics.of(self.token_features[None], self.target[:, None], self.weight[:, None])


def apply_mapper(tau: Tensor, token_features: Tensor) -> Tensor:
    """E2 = T_tau(x). tau: (R, D, d); described: (1 or R, d, h, w) -> (R, D, h, w)"""
    height, width = token_features.shape[-2:]
    mapped: Tensor = (tau @ token_features.flatten(2)).unflatten(2, (height, width))
    return mapped


def ridge_solution(statistics: Statistics, ridge: float | Tensor) -> Tensor:
    """The minimiser of L in closed form. Returns (R, D, d).

    By Cholesky, the matrix being symmetric and positive: besides, batched LU fails in some builds
    of torch for the CPU with more than one thread.
    """
    factor = torch.linalg.cholesky(_with_ridge(statistics.gram, ridge))
    return torch.cholesky_solve(statistics.cross.transpose(1, 2), factor).transpose(1, 2)


def descend(tau: Tensor, statistics: Statistics, ridge: float | Tensor, iterations: int) -> Tensor:
    """Steepest descent with exact step length, Gram form. tau: (R, D, d) -> (R, D, d)"""
    gram = statistics.gram
    # The ridge is added to the products: no copy of the largest tensor.
    gradient = tau @ gram + ridge * tau - statistics.cross
    for _ in range(iterations):
        curved = gradient @ gram + ridge * gradient
        step = _exact_step(gradient.square().sum(dim=(1, 2)), (gradient * curved).sum(dim=(1, 2)))
        tau = tau.addcmul(step, gradient, value=-1)
        gradient = gradient.addcmul(step, curved, value=-1)
    return tau


def descend_convolution(
    tau: Tensor, samples: tuple[Tensor, Tensor, Tensor], ridge: float, iterations: int
) -> Tensor:
    """The oracle: the same descent as residuals, weight gradients and responses over samples.

    samples: described (R, F, d, n), target (R, F, D, n), weight (R, F, n)
    """
    token_features, target, weight = samples
    for _ in range(iterations):
        residual = torch.einsum("rxd,rfdn->rfxn", tau, token_features) - target
        weighted = residual * weight[:, :, None]
        gradient = torch.einsum("rfxn,rfdn->rxd", weighted, token_features) + ridge * tau
        response = torch.einsum("rxd,rfdn->rfxn", gradient, token_features)
        norm = gradient.square().sum(dim=(1, 2))
        curvature = (response.square() * weight[:, :, None]).sum(dim=(1, 2, 3)) + ridge * norm
        tau = tau - _exact_step(norm, curvature) * gradient
    return tau


def mapping_loss(tau: Tensor, statistics: Statistics) -> Tensor:
    """Weighted squared error of T on the samples behind the statistics, (R,), without the ridge."""
    fit = (tau @ statistics.gram * tau).sum(dim=(1, 2))
    cross = (tau * statistics.cross).sum(dim=(1, 2))
    return 0.5 * (fit - 2 * cross + statistics.energy)


def _with_ridge(gram: Tensor, ridge: float | Tensor) -> Tensor:
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return gram + ridge * eye


def _exact_step(norm: Tensor, curvature: Tensor) -> Tensor:
    """alpha = ||g||^2 / max(<g, M g>, tiny), zero where the gradient has vanished. (R, 1, 1)"""
    return (norm / curvature.clamp_min(torch.finfo(norm.dtype).tiny))[:, None, None]
