"""What is measured: a backbone at a size, with a number of classes that all learn or all do not."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.timing import TimedEngine
from models.backbone.memory_bank import Entries
from models.config import BACKBONES, BackboneConfig, LearnerConfig, MemoryConfig
from models.engines.export import export_weights
from models.engines.interface import Engine, EngineChoice
from models.errors import ProfileError
from models.instances.exemplars import Exemplars
from models.learner.mapping_network import Statistics
from models.learner.online_learner import LearnerStart
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, Profile, SupportSet, load_profile
from models.phantom import DEMO_SEED, Procedure
from models.tracking.ablation import UPDATE_EVERY, Ablation
from models.tracking.tracker import Tracker, open_engine_for
from models.types import ClassSpec, UInt8Array


@dataclass(frozen=True)
class Subject:
    """image_size: of the network, None is the backbone's own; learning: updates are on

    learn_all: as published, not as a live stream does, see Ablation.for_video
    instances: named by the instance head alone, as the embedded profiles are; else pixel by pixel,
      by the rows of OFL-SAM2 with their memory and mapping network
    """

    backbone: str = "nano"
    image_size: int | None = None
    classes: int = 4
    learning: bool = True
    learn_all: bool = False
    instances: bool = False

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Subject:
        """As the command line says. Raises ProfileError: no head in those weights."""
        if arguments.instances and arguments.backbone != "nano":
            raise ProfileError(f"--instances: expected backbone nano, got {arguments.backbone}")
        return cls(
            arguments.backbone,
            arguments.image_size,
            arguments.classes,
            not arguments.no_online,
            arguments.learn_all,
            arguments.instances,
        )

    @property
    def config(self) -> BackboneConfig:
        """The backbone at its size."""
        config = BACKBONES[self.backbone]
        return config if self.image_size is None else config.resized(self.image_size)

    @property
    def taught(self) -> float:
        """Mapping networks that learn in a step, on average."""
        if not self.learning or self.instances:
            return 0
        return self.classes if self.learn_all else 1 / UPDATE_EVERY

    def settings(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self) | {"image_size": self.config.image_size}

    def weights(self) -> LoadedWeights:
        """Ours for NANO, at any size; random ones for the official backbones."""
        return export_weights(self.backbone, self.image_size)

    def tracker(
        self, engine: str | Engine, weights: LoadedWeights | None = None, *, timed: bool = False
    ) -> Tracker:
        """Sure of every class (or of none), with a guard that believes everything finite.

        timed: its functions, one by one; on a GPU waiting for each slows the whole
        """
        weights = weights or self.weights()
        video = Ablation.for_video(online=self.learning, learn_all=self.learn_all)
        ablation = replace(video, instances=self.instances)
        profile = self._profile(weights)
        if isinstance(engine, str):
            engine = open_engine_for(weights, profile, ablation, EngineChoice(engine))
        return Tracker(weights, profile, ablation, TimedEngine(engine) if timed else engine)

    def _profile(self, weights: LoadedWeights) -> Profile:
        own = weights.model.config.backbone
        profile = load_profile("phantom") if own.name == "nano" else random_profile(weights)
        profile = _with_rows(profile, self.classes, own.grid)
        rows = self.classes
        raised = torch.full((rows,), 8.0 if self.learning else -8.0)
        anything = torch.full((rows,), float("inf"))
        return replace(
            profile,
            backbone_sha256=weights.sha256,
            calibration=Calibration(torch.full((rows,), 0.01), raised),
            start=replace(profile.start, tolerance=anything, surprise=anything),
            object_offset=50.0,
        )


def pictures(size: tuple[int, int] = (480, 640), count: int = 75) -> list[UInt8Array]:
    """Frames of a clip of the demo's procedure, 25 a second. size: (height, width)"""
    clip = Procedure(DEMO_SEED).clip(30, size=size)
    return [clip.render(number / 25).image_rgb for number in range(count)]


def random_profile(weights: LoadedWeights) -> Profile:
    """A profile of one class with numbers that mean nothing, in the right shapes."""
    config, learner, memory = weights.model.config.backbone, LearnerConfig(), MemoryConfig()
    token_features = (1 + len(learner.context)) * config.model_width + 13
    tokens = torch.randn(token_features, 4 * token_features)
    gram = (tokens @ tokens.T / tokens.shape[1])[None]
    cross = torch.randn(1, config.model_width, token_features) / token_features
    start = LearnerStart(
        torch.zeros_like(cross), Statistics(gram, cross, torch.ones(1), torch.ones(1)),
        1e-2, torch.ones(1), torch.ones(1),
    )  # fmt: skip
    entries = Entries(
        torch.randn(1, memory.support, config.memory_width, config.grid, config.grid),
        torch.randn(1, memory.support, config.model_width),
    )
    present = torch.ones(1, memory.support, dtype=torch.bool)
    pooled = F.normalize(torch.randn(memory.support, config.model_width), dim=1)
    return Profile(
        (ClassSpec(1, "class 1", "#3fb950"),), config.name, weights.sha256, learner, memory, start,
        weights.model.fusion.state_dict(), SupportSet(entries, present, pooled),
        Calibration(torch.ones(1), torch.zeros(1)), {},
    )  # fmt: skip


def _with_rows(profile: Profile, rows: int, grid: int) -> Profile:
    """The profile with its classes repeated, or cut, to this many, its memories at this grid."""
    index = torch.arange(rows) % len(profile.classes)
    start, support, names = profile.start, profile.support, profile.pixel_names
    exemplars = profile.exemplars
    return replace(
        profile,
        classes=tuple(ClassSpec(row + 1, f"class {row + 1}", "#3fb950") for row in range(rows)),
        start=replace(start, tau=start.tau[index], anchor=start.anchor.rows(index)),
        support=replace(
            support,
            entries=Entries(
                _at_grid(support.entries.memory, grid)[index], support.entries.pointer[index]
            ),
            present=support.present[index],
        ),
        pixel_names=names
        and replace(names, indicator=_told_apart(names.indicator[index]), anchor=None),
        exemplars=exemplars and _of_rows(exemplars, index),
    )


def _of_rows(exemplars: Exemplars, index: Tensor) -> Exemplars:
    """index: (rows,) the class that each row repeats"""
    each = [torch.nonzero(exemplars.row == one).flatten() for one in index]
    row = torch.cat([torch.full_like(one, row) for row, one in enumerate(each)])
    return replace(exemplars, embedding=exemplars.embedding[torch.cat(each)], row=row)


def _at_grid(memory: Tensor, grid: int) -> Tensor:
    """(C, N, M, h, w) -> (C, N, M, grid, grid)"""
    if memory.shape[-1] == grid:
        return memory
    resized: Tensor = F.interpolate(memory.flatten(0, 1), grid, mode="bilinear")
    return resized.view(*memory.shape[:3], grid, grid)


def _told_apart(indicator: Tensor) -> Tensor:
    """Repeated classes must not tie for every pixel, or only the first would ever be there."""
    noise = torch.randn(indicator.shape, generator=torch.Generator().manual_seed(0))
    return indicator + 0.05 * indicator.std() * noise
