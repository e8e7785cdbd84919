"""The mapping network's closed-form steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.config import LearnerConfig
from models.learner.mapping_network import (
    Statistics,
    apply_mapper,
    descend,
    descend_convolution,
    describe_tokens,
    mapping_loss,
    ridge_solution,
    token_weights,
)

ROWS, FRAMES, WIDTH, OUT, TOKENS = 2, 3, 12, 5, 16


def problem(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    token_features = torch.randn(ROWS, FRAMES, WIDTH, TOKENS, generator=generator, dtype=dtype)
    target = torch.randn(ROWS, FRAMES, OUT, TOKENS, generator=generator, dtype=dtype)
    weight = torch.rand(ROWS, FRAMES, TOKENS, generator=generator, dtype=dtype)
    return token_features, target, weight


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_gram_form_equals_convolution_form(dtype: torch.dtype, bound: float) -> None:
    samples = problem(dtype)
    start = torch.zeros(ROWS, OUT, WIDTH, dtype=dtype)
    gram = descend(start, Statistics.of(*samples), 0.1, 10)
    convolution = descend_convolution(start, samples, 0.1, 10)
    difference = (gram - convolution).norm() / convolution.norm()
    assert float(difference) <= bound


def test_step_length_is_the_minimum_along_the_gradient() -> None:
    statistics, ridge = Statistics.of(*problem(torch.float64)), 0.1
    start = torch.randn(ROWS, OUT, WIDTH, dtype=torch.float64)
    gradient = start @ statistics.gram + ridge * start - statistics.cross
    stepped = descend(start, statistics, ridge, 1)

    def objective(tau: Tensor) -> Tensor:
        return mapping_loss(tau, statistics) + 0.5 * ridge * tau.square().sum(dim=(1, 2))

    step = ((start - stepped) * gradient).sum(dim=(1, 2)) / gradient.square().sum(dim=(1, 2))
    for row in range(ROWS):
        lengths = np.linspace(0, 2 * float(step[row]), 4001)
        losses = [float(objective(start - length * gradient)[row]) for length in lengths]
        assert lengths[int(np.argmin(losses))] == pytest.approx(float(step[row]), rel=1e-3)


def test_descent_goes_to_the_ridge_solution() -> None:
    statistics = Statistics.of(*problem(torch.float64))
    closed = ridge_solution(statistics, 0.5)
    found = descend(torch.zeros_like(closed), statistics, 0.5, 2000)
    torch.testing.assert_close(found, closed, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(descend(closed, statistics, 0.5, 5), closed)


def test_a_frame_can_be_left_out_by_subtraction() -> None:
    token_features, target, weight = problem(torch.float64)
    every = Statistics.of(token_features, target, weight)
    last = Statistics.of(token_features[:, 2:], target[:, 2:], weight[:, 2:])
    rest = Statistics.of(token_features[:, :2], target[:, :2], weight[:, :2])
    torch.testing.assert_close(
        ridge_solution(every.minus(last), 0.1), ridge_solution(rest, 0.1), atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("kernel", [1, 3])
def test_kernels_see_their_neighbourhood(kernel: int) -> None:
    config = LearnerConfig(kernel=kernel, context=(5,), color=True)
    stride16, color = torch.randn(1, 8, 4, 4), torch.randn(1, 6, 4, 4)
    token_features = describe_tokens(stride16, color, config)
    width = (8 * 2 + 6 * 2 + 1) * kernel**2
    assert token_features.shape == (1, width, 4, 4)
    tau = torch.randn(ROWS, OUT, width)
    mapped = apply_mapper(tau, token_features)
    assert mapped.shape == (ROWS, OUT, 4, 4)
    if kernel == 3:  # the same as a real convolution over the token's own description
        single = describe_tokens(stride16, color, LearnerConfig(kernel=1, context=(5,), color=True))
        weight = tau.reshape(ROWS * OUT, -1, 3, 3)
        convolved = torch.nn.functional.conv2d(single, weight, padding=1)
        expected = convolved.reshape(ROWS, OUT, 4, 4)
        torch.testing.assert_close(mapped, expected, atol=1e-4, rtol=1e-4)


def test_instrument_and_background_weigh_the_same() -> None:
    mask = torch.zeros(1, 64, 64)
    mask[0, :16, :16] = 1  # one token of sixteen
    weight = token_weights(mask, 4)[0]
    assert float(weight[0]) == pytest.approx(0.5)
    assert float(weight[1:].sum()) == pytest.approx(0.5)
    empty = token_weights(torch.zeros(1, 64, 64), 4)
    assert float(empty.sum()) == pytest.approx(1.0)


def test_what_nobody_knows_weighs_nothing() -> None:
    mask, counted = torch.zeros(2, 64, 64), torch.ones(64, 64)
    mask[0, :16, :16] = 1
    counted[32:] = 0
    weight = token_weights(mask, 4, counted)
    assert weight[0, 0] == pytest.approx(0.5)
    assert weight[0, 1:8].tolist() == pytest.approx([0.5 / 7] * 7)
    assert weight[1, :8].tolist() == pytest.approx([1 / 8] * 8), "a class that is not there"
    assert not weight[:, 8:].any()
    assert not token_weights(mask, 4, torch.zeros(64, 64))[1].any(), "nothing is known at all"
    assert torch.equal(token_weights(mask, 4, torch.ones(64, 64)), token_weights(mask, 4))
