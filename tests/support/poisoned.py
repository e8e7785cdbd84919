"""The real tracker with a learner that at some frames works with numbers that are none."""

from __future__ import annotations

import itertools
from dataclasses import replace
from unittest.mock import patch

import torch

import models.tracking.online_updates
from models.learner.mapping_network import Sample
from models.method.checkpoint import load_embedded
from models.tracking.tracker import Tracker
from models.types import Update
from tests.models.test_tracker import always_learning

NAN = float("nan")
BEGIN, END = 4, 7  # of the lessons that are poisoned


def poisoned_lessons() -> Tracker:
    """Some frames teach what is not a number; the learner is to refuse it."""
    honest, numbers = models.tracking.online_updates.update_sample, itertools.count(1)

    def lesson(*arguments: object) -> tuple[object, Sample]:
        entries, fresh = honest(*arguments)  # type: ignore[arg-type]
        if BEGIN <= next(numbers) < END:
            fresh = replace(fresh, target=torch.full_like(fresh.target, NAN))
        return entries, fresh

    # This process is the model's, and ends.
    patch("models.tracking.online_updates.update_sample", lesson).start()
    return always_learning(load_embedded())


class Spoilt:
    """A tracker whose mapping networks once become NaN, as if no guard had held."""

    def __init__(self) -> None:
        self._tracker, self._lessons = always_learning(load_embedded()), 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._tracker, name)

    def update(self) -> tuple[Update, ...]:
        """Learn, and be spoilt."""
        updates = self._tracker.update()
        self._lessons += 1
        if self._lessons == BEGIN:
            learner = self._tracker.strategy.updates.learner
            learner.tau = torch.full_like(learner.tau, NAN)
        return updates
