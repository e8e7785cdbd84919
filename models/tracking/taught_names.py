"""Names that lessons taught: a mapping network on the embeddings of regions.

T is fitted in closed form to the annotated regions, as indicators of their classes. What it says
after a lesson, less what it said before any, is added to the evidence of the exemplars. So a
stream that nobody teaches is named by the exemplars alone. Not in the paper; docs/method.md has
what it is worth.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import LearnerConfig
from models.instances.exemplars import Exemplars
from models.instances.instance_classifier import (
    InstanceClassifier,
    embed_regions,
    frame_exemplars,
)
from models.instances.instance_head import HeadOutput
from models.instances.vote_grouping import group_votes
from models.learner.mapping_network import Sample, ridge_solution
from models.learner.online_learner import LearnerStart, OnlineLearner
from models.tracking.strategy import LessonMasks

RIDGE = 0.1
GAIN = 12.0  # of T's indicators, beside the exemplars' log shares
LESSON_WEIGHT = 0.15  # of a region, beside all annotated ones
NONE = 0.5  # of a region that is said to be nothing: from which it is one


class TaughtNames:
    """The names of one stream's regions."""

    def __init__(self, classifier: InstanceClassifier, classes: int, config: LearnerConfig) -> None:
        self._classifier, self._classes = classifier, classes
        anchor = _sample(classifier.exemplars, classes).statistics()
        open_ = torch.full((1,), float("inf"), device=anchor.gram.device)
        self._start = ridge_solution(anchor, RIDGE)
        start = LearnerStart(self._start, anchor, RIDGE, open_, open_)
        self.learner = OnlineLearner(start, config, LESSON_WEIGHT)

    def teach(self, head_output: HeadOutput, lesson: LessonMasks) -> None:
        """Learn the names of a frame's regions, and which of its regions are nothing."""
        head = self._classifier.head
        named = frame_exemplars(head, head_output, lesson.mask)
        nothing = self._regions_of_nothing(head_output, lesson)
        row = torch.cat([named.row, torch.full((len(nothing),), self._classes)])
        if len(row):
            embedding = torch.cat([named.embedding, nothing])
            sample = _sample(Exemplars(embedding, row), self._classes)
            self.learner.teach(replace(sample, weight=torch.ones_like(sample.weight)))
        self.apply()

    def apply(self) -> None:
        """Let the classifier name by what the learner knows now."""
        self._classifier.residual = GAIN * (self.learner.tau - self._start)[0]

    def _regions_of_nothing(self, head_output: HeadOutput, lesson: LessonMasks) -> Tensor:
        """Embeddings of what the head takes for instruments where a person says there is none."""
        side = head_output.instrument.shape[-1]
        cover = F.adaptive_avg_pool2d(lesson.mask.amax(dim=0)[None, None], side)[0, 0]
        counted = F.adaptive_avg_pool2d(lesson.counted[None, None], side)[0, 0]
        wrong = (head_output.instrument[0, 0] > 0) & (cover < NONE) & (counted > NONE)
        regions = group_votes(wrong.cpu().numpy(), head_output.vote[0].cpu().numpy())
        return embed_regions(self._classifier.head, head_output, regions.label, len(regions.centre))


def _sample(exemplars: Exemplars, classes: int) -> Sample:
    """Regions as one frame of a mapping problem: (1, D, n) to (1, C, n), all of one weight."""
    embedding, row = exemplars.embedding, exemplars.row.to(exemplars.embedding.device)
    target = F.one_hot(row, classes + 1)[:, :classes].to(embedding.dtype)
    weight = torch.full((1, len(row)), 1 / max(len(row), 1), device=embedding.device)
    return Sample(embedding.T[None], target.T[None], weight)
