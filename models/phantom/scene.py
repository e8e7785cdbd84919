"""Procedures, their clips, and frames at any moment: strict functions of a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from models.phantom.anatomy import Anatomy, Stage, grow, light
from models.phantom.camera import Camera, Shift
from models.phantom.instruments import Canvas, Pose, draw, fixed
from models.phantom.looks import (
    CLASSES,
    DARK_SHAFTS,
    SHAFTS,
    Look,
    lit_by_tissue,
    random_look,
)
from models.phantom.noise import Wobble
from models.types import UInt8Array


@dataclass(frozen=True)
class PhantomFrame:
    """A frame and its truth.

    image_rgb: (H, W, 3) uint8; class_mask, instance_mask: (H, W) uint8, visible pixels only
    """

    image_rgb: UInt8Array
    class_mask: UInt8Array
    instance_mask: UInt8Array


@dataclass(frozen=True)
class Instance:
    """One instrument of a clip."""

    instance_id: int
    class_id: int


Tray = Mapping[int, Look]


def random_tray(seed: int, kinds: Sequence[int] | None = None) -> Tray:
    """Instruments and their looks, by kind; two to four kinds unless they are given."""
    rng = np.random.default_rng([seed, 1])
    if kinds is None:
        count = int(rng.choice([2, 3, 4], p=[0.3, 0.4, 0.3]))
        drawn = rng.choice([spec.class_id for spec in CLASSES], size=count, replace=False)
        kinds = sorted(int(kind) for kind in drawn)
    count = len(kinds)
    shafts = rng.permutation(len(SHAFTS))[:count]
    dark = rng.random(count) < 0.6  # most real shafts are black
    shafts = np.where(dark, rng.integers(0, DARK_SHAFTS, count), shafts)
    if rng.random() < 0.3:
        shafts[:] = shafts[0]
    return {
        kind: random_look(kind, int(shaft), np.random.default_rng([seed, 2, kind]))
        for kind, shaft in zip(kinds, shafts, strict=True)
    }


def tissue_lit_tray(seed: int) -> Tray:
    """The same instruments where the light comes off red tissue, see `lit_by_tissue`."""
    rng = np.random.default_rng([seed, 7])
    return {kind: lit_by_tissue(look, rng) for kind, look in random_tray(seed).items()}


class Procedure:
    """One patient, one operation: its anatomy and the looks of its kinds of instruments."""

    def __init__(self, seed: int, tray: Tray | None = None) -> None:
        """tray: the instruments, where several procedures share them; None draws them by the seed.

        Raises ValueError if seed is negative.
        """
        if seed < 0:
            raise ValueError(f"expected a seed of 0 or more, got {seed}")
        self.seed = seed
        self.looks = random_tray(seed) if tray is None else tray
        self.kinds: tuple[int, ...] = tuple(sorted(self.looks))
        self._anatomy: dict[int, Anatomy] = {}

    def clip(
        self, index: int, *, size: tuple[int, int] = (256, 256), shift: Shift | None = None
    ) -> Clip:
        """Clip number `index`, of (height, width) pixels.

        Raises ValueError if index is negative or a side is not at least one pixel.
        """
        if index < 0:
            raise ValueError(f"expected a clip index of 0 or more, got {index}")
        if min(size) < 1:
            raise ValueError(f"expected a height and width of 1 or more, got {size[0]}x{size[1]}")
        side = int(np.clip(2 ** np.ceil(np.log2(1.5 * max(size))), 256, 1024))
        if side not in self._anatomy:
            self._anatomy = {side: grow(np.random.default_rng([self.seed, 3]), side)}
        return Clip(self, index, size, shift, self._anatomy[side])


@dataclass(frozen=True)
class _Actor:
    """How one instrument moves.

    pivot: of the trocar, outside the frame; reach: mean and swing of its insertion; all lengths in
    shorter sides of the frame
    """

    instance: Instance
    look: Look
    pivot: tuple[float, float]
    aim: tuple[float, float]
    reach: tuple[float, float]
    depth: float
    sway: tuple[Wobble, Wobble, Wobble, Wobble, Wobble]
    blur: float


class Clip:
    """One scene over time; `render(t)` may be called in any order."""

    def __init__(
        self,
        procedure: Procedure,
        index: int,
        size: tuple[int, int],
        shift: Shift | None,
        anatomy: Anatomy,
    ) -> None:
        self.size, self._shift, self._anatomy = size, shift, anatomy
        self._seed = [procedure.seed, 4, index]
        rng = np.random.default_rng(self._seed)
        self._camera = Camera.random(rng, size)
        self._actors = _cast(procedure, rng, size)
        self.instances: tuple[Instance, ...] = tuple(actor.instance for actor in self._actors)

    @cached_property
    def _stage(self) -> Stage:
        return light(self._anatomy, np.random.default_rng([*self._seed, 5]))

    def render(self, t: float) -> PhantomFrame:
        """The frame at t seconds; raises ValueError if t is negative or not finite."""
        if not 0 <= t < math.inf:
            raise ValueError(f"expected a time of 0 s or more, got {t}")
        camera, stage = self._camera, self._stage
        to_frame = camera.view(t, len(stage.image))
        image = camera.tissue(stage, to_frame, t)
        canvas = Canvas(image)
        for actor in self._actors:
            self._draw_actor(canvas, actor, t)
        if stage.fold is not None:
            self._hide_behind_fold(canvas, image, to_frame)
        camera.vignette(canvas)
        finished = camera.expose(canvas.image, t, self._shift, self._seed)
        classes = np.zeros(256, np.uint8)
        for instance in self.instances:
            classes[instance.instance_id] = instance.class_id
        return PhantomFrame(finished, classes[canvas.owner], canvas.owner)

    def poses(self, t: float) -> dict[int, Pose]:
        """Where each instrument is at t seconds, by instance id; those outside are left out."""
        posed = ((actor.instance.instance_id, _pose(actor, self.size, t)) for actor in self._actors)
        return {number: pose for number, pose in posed if pose is not None}

    def _draw_actor(self, canvas: Canvas, actor: _Actor, t: float) -> None:
        pose = _pose(actor, self.size, t)
        if pose is None:
            return
        _cast_shadow(canvas, actor, pose)
        if actor.blur <= 0:
            draw(canvas, actor.look, pose, actor.instance.instance_id)
            return
        layer = Canvas(canvas.image.copy())
        draw(layer, actor.look, pose, actor.instance.instance_id)
        sigma = actor.blur * min(self.size)
        alpha = cv2.GaussianBlur((layer.owner > 0).astype(np.float32), (0, 0), sigma)[..., None]
        soft = cv2.GaussianBlur(layer.image, (0, 0), sigma)
        mixed = canvas.image + alpha * (soft.astype(np.float32) - canvas.image)
        canvas.image[:] = mixed.astype(np.uint8)
        canvas.owner[layer.owner > 0] = actor.instance.instance_id

    def _hide_behind_fold(self, canvas: Canvas, image: UInt8Array, to_frame: object) -> None:
        stage = self._stage
        assert stage.fold is not None
        height, width = self.size
        fold = cv2.warpAffine(stage.fold, np.asarray(to_frame), (width, height))
        hidden = (fold > 127) & (canvas.owner > 0)
        if not hidden.any():
            return
        tissue = self._camera.tissue(stage, np.asarray(to_frame), 0.0)
        canvas.image[hidden] = tissue[hidden]
        canvas.owner[hidden] = 0


def _cast(
    procedure: Procedure, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[_Actor, ...]:
    """Who plays in this clip: usually most of the kinds, sometimes a twin, sometimes nobody."""
    if rng.random() < 0.05:
        return ()
    kinds = [kind for kind in procedure.kinds if rng.random() < 0.72]
    kinds = kinds or [int(rng.choice(procedure.kinds))]
    if rng.random() < 0.12 and len(kinds) < 4:
        kinds.append(int(rng.choice(kinds)))
    rng.shuffle(kinds)
    start = rng.uniform(0, 2 * np.pi)
    actors = []
    for number, kind in enumerate(kinds):
        angle = start + 2 * np.pi * (number + rng.uniform(-0.25, 0.25)) / max(len(kinds), 2)
        actors.append(_actor(procedure.looks[kind], Instance(number + 1, kind), angle, rng, size))
    return tuple(actors)


def _actor(
    look: Look,
    instance: Instance,
    angle: float,
    rng: np.random.Generator,
    size: tuple[int, int],
) -> _Actor:
    half_x, half_y = (0.5 * side / min(size) for side in (size[1], size[0]))
    outside = rng.uniform(1.15, 1.6)
    pivot = (outside * half_x * 1.42 * np.cos(angle), outside * half_y * 1.42 * np.sin(angle))
    distance = float(np.hypot(*pivot))
    near = rng.random() < 0.2
    roams = rng.random() < 0.3  # leaves the picture now and then, and comes back
    reach = (rng.uniform(0.45, 0.7), rng.uniform(0.35, 0.6)) if roams else None
    reach = reach or (rng.uniform(0.72, 1.0), rng.uniform(0.08, 0.35))
    return _Actor(
        instance=instance,
        look=look,
        pivot=pivot,
        aim=(float(rng.normal(0, 0.22)), float(rng.normal(0, 0.22))),
        reach=(distance * float(reach[0]), distance * float(reach[1])),
        depth=float(rng.uniform(1.6, 2.7)) if near else float(rng.uniform(0.75, 1.35)),
        sway=(
            Wobble.random(rng, 0.05, 0.35),
            Wobble.random(rng, 0.06, 0.45),
            Wobble.random(rng, 0.06, 0.45),
            Wobble.random(rng, 0.15, 0.9),
            Wobble.random(rng, 0.08, 0.5),
        ),
        blur=float(rng.uniform(0.004, 0.016)) if near and rng.random() < 0.7 else 0.0,
    )


def _pose(actor: _Actor, size: tuple[int, int], t: float) -> Pose | None:
    """The instrument's pose at t, or None while it is out of the patient."""
    reach_sway, x_sway, y_sway, jaw_sway, bend_sway = actor.sway
    unit = min(size)
    aim_x, aim_y = actor.aim[0] + 0.28 * x_sway(t), actor.aim[1] + 0.28 * y_sway(t)
    angle = float(np.arctan2(aim_y - actor.pivot[1], aim_x - actor.pivot[0]))
    reach = actor.reach[0] + actor.reach[1] * reach_sway(t)
    base = np.array(actor.pivot) + reach * np.array([np.cos(angle), np.sin(angle)])
    base = base * unit + np.array([size[1], size[0]]) / 2
    tip = actor.look.jaw * actor.look.width * actor.depth * unit
    margin = tip + 0.05 * unit
    inside = (-margin < base[0] < size[1] + margin) and (-margin < base[1] < size[0] + margin)
    if not inside:
        return None
    straight = actor.look.class_id in (3, 5)
    return Pose(
        base=base,
        angle=angle,
        width=max(2.0, actor.look.width * actor.depth * unit * (1 + 0.06 * reach_sway(t))),
        bend=0.0 if straight else 0.45 * bend_sway(t),
        opening=float(np.clip(0.38 + 0.5 * jaw_sway(t), 0.02, 0.95)),
    )


def _cast_shadow(canvas: Canvas, actor: _Actor, pose: Pose) -> None:
    """A soft shadow on the tissue beside the shaft, drawn coarsely: its edge is never sharp."""
    height, width = canvas.owner.shape
    small = np.zeros((height // 4 + 1, width // 4 + 1), np.uint8)
    direction = np.array([np.cos(pose.angle), np.sin(pose.angle)])
    offset = np.array([0.35, 0.5]) * pose.width / actor.depth
    tip = (pose.base + direction * actor.look.jaw * pose.width * 0.8 + offset) / 4
    back = (pose.base - direction * 2 * (height + width) + offset) / 4
    cv2.line(small, fixed(tip), fixed(back), 110, max(1, round(pose.width / 4)), cv2.LINE_8, 4)
    small = cv2.blur(small, (2 * max(1, round(pose.width / 10)) + 1,) * 2)
    shadow = cv2.resize(255 - small, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.multiply(canvas.image, cv2.merge([shadow] * 3), dst=canvas.image, scale=1 / 255)
