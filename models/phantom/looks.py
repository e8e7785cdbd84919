"""How instruments look: seven kinds, their shafts, steel, lettering and stains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from models.types import ClassSpec, UInt8Array

CLASSES: tuple[ClassSpec, ...] = (
    ClassSpec(1, "grasper", "#3fb950"),
    ClassSpec(2, "scissors", "#58a6ff"),
    ClassSpec(3, "hook", "#f2cc60"),
    ClassSpec(4, "clip_applier", "#db61a2"),
    ClassSpec(5, "suction", "#39c5cf"),
    ClassSpec(6, "needle_driver", "#ff8a4c"),
    ClassSpec(7, "sealer", "#bc8cff"),
)
GRASPER, SCISSORS, HOOK, CLIP_APPLIER, SUCTION, NEEDLE_DRIVER, SEALER = range(1, 8)

# name -> RGB, shininess of the shaft
SHAFTS: tuple[tuple[tuple[int, int, int], float], ...] = (
    ((22, 22, 24), 0.25),
    ((34, 33, 34), 0.7),
    ((16, 18, 20), 0.5),
    ((46, 44, 42), 0.3),
    ((150, 152, 156), 0.9),
    ((112, 114, 118), 0.7),
    ((222, 220, 212), 0.4),
    ((206, 198, 180), 0.3),
    ((40, 76, 150), 0.5),
    ((30, 110, 84), 0.5),
    ((104, 74, 140), 0.5),
    ((176, 140, 66), 0.8),
)
DARK_SHAFTS = 4
STRIP = 40  # pixels across a shaft's texture
STRIP_LENGTH = 16  # its length, in widths


@dataclass(frozen=True)
class Look:
    """How one kind looks in one procedure.

    width: of the shaft, share of the frame's shorter side; jaw, wrist: lengths in shaft widths
    strip: (STRIP, STRIP * STRIP_LENGTH, 3) uint8 texture of the shaft, wrist end first
    steel: RGB of wrist and jaws; slim: thickness of the jaws; curve: their bend
    mirror: how strongly the steel mirrors dark and light; stain: blood on the jaws, both 0 to 1
    """

    class_id: int
    width: float
    jaw: float
    wrist: float
    slim: float
    curve: float
    steel: npt.NDArray[np.float64]
    strip: UInt8Array
    serrated: bool
    mirror: float
    stain: float


def random_look(class_id: int, shaft: int, rng: np.random.Generator) -> Look:
    """A look of this kind on shaft number `shaft`."""
    wide = 1.25 if class_id == SEALER else 0.8 if class_id == HOOK else 1.0
    jaw = {GRASPER: 2.4, SCISSORS: 2.3, CLIP_APPLIER: 2.0, NEEDLE_DRIVER: 1.5, SEALER: 3.0}
    slim = {GRASPER: 0.36, SCISSORS: 0.24, CLIP_APPLIER: 0.42, NEEDLE_DRIVER: 0.38, SEALER: 0.4}
    level = rng.uniform(45, 110) if rng.random() < 0.3 else rng.uniform(120, 225)
    return Look(
        class_id=class_id,
        width=float(np.clip(rng.lognormal(np.log(0.078), 0.36), 0.032, 0.18)) * wide,
        jaw=jaw.get(class_id, 2.6) * float(rng.uniform(0.8, 1.3)),
        wrist=float(rng.uniform(0.5, 1.3)),
        slim=slim.get(class_id, 0.3) * float(rng.uniform(0.85, 1.2)),
        curve=float(rng.uniform(-0.25, 0.25)),
        steel=level * rng.uniform(0.95, 1.04, 3),
        strip=_shaft_strip(shaft, rng),
        serrated=bool(rng.random() < 0.7),
        mirror=float(rng.uniform(0, 1)),
        stain=float(rng.uniform(0.3, 1)) if rng.random() < 0.35 else 0.0,
    )


def _shaft_strip(shaft: int, rng: np.random.Generator) -> UInt8Array:
    """A cylinder lit from the scope, with rings, lettering, scratches and smears."""
    colour, shine = SHAFTS[shaft]
    base = np.array(colour) * rng.uniform(0.8, 1.25) + rng.uniform(-6, 6, 3)
    if shaft < DARK_SHAFTS:  # black plastic is lit by the tissue around it: brown, even plum
        base += rng.uniform(0, 1) * np.array([30.0, 12.0, 15.0])
        shine *= rng.uniform(0.1, 1)
    across = np.linspace(-1, 1, STRIP)
    facing = np.sqrt(np.clip(1 - across**2, 0, 1))
    streak = np.exp(-(((across - rng.uniform(-0.4, 0.4)) / rng.uniform(0.08, 0.25)) ** 2))
    length = STRIP * STRIP_LENGTH
    strip = np.empty((STRIP, length, 3), np.float32)
    strip[:] = base * (0.28 + 0.85 * facing)[:, None, None]
    strip += (streak * shine * rng.uniform(40, 190))[:, None, None]
    along = np.arange(length) / STRIP
    strip *= (1 + 0.12 * np.sin(along * rng.uniform(0.3, 1.2) + rng.uniform(0, 6)))[None, :, None]
    _rings(strip, rng)
    if rng.random() < (0.55 if shaft < DARK_SHAFTS else 0.15):
        _lettering(strip, rng, dark=shaft >= DARK_SHAFTS)
    if rng.random() < 0.35:
        _smears(strip, rng)
    strip += rng.normal(0, 3, (STRIP, length, 1))
    return np.clip(strip, 0, 255).astype(np.uint8)


def lit_by_tissue(look: Look, rng: np.random.Generator) -> Look:
    """The same instrument where the light comes off red tissue, as in a narrow pelvis.

    Steel turns warm; a dark shaft turns brown, loses its highlights and most of its roundness, and
    mirrors broken light along an edge.
    """
    green = rng.uniform(0.72, 0.97)
    steel = look.steel * np.array([1.0, green, green * rng.uniform(0.85, 1.03)])
    strip = look.strip.astype(np.float32)
    if strip.mean() < 90:
        flat, plain = rng.uniform(0.3, 1), strip.mean(axis=0, keepdims=True)
        strip += flat * (np.minimum(plain, np.percentile(plain, 60)) - strip)
        strip *= np.float32(rng.uniform(0.6, 1.0))
        strip += np.array([42, 17, 16], np.float32) * np.float32(rng.uniform(0.4, 1.1))
        if rng.random() < 0.5:
            _rim(strip, rng)
    else:
        strip *= (steel / look.steel).astype(np.float32)
    return replace(look, steel=steel, strip=np.clip(strip, 0, 255).astype(np.uint8))


def _rim(strip: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Broken light along one edge."""
    places = cv2.GaussianBlur(rng.normal(0, 1, (1, strip.shape[1])), (0, 0), rng.uniform(2, 8))
    bright = np.clip(places[0] / places.std(), 0, 1)[:, None] * rng.uniform(60, 200)
    row, size = int(rng.choice([0, STRIP - 4])), int(rng.integers(2, 5))
    strip[row : row + size] += (bright * np.array([1, 0.95, 0.9])).astype(np.float32)


def _rings(strip: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(0, 3))):
        start, size = int(rng.uniform(0, 4) * STRIP), int(rng.uniform(0.08, 0.6) * STRIP)
        strip[:, start : start + size] *= np.float32(rng.choice([0.5, 0.7, 1.6, 2.2]))


def _lettering(strip: npt.NDArray[np.float32], rng: np.random.Generator, *, dark: bool) -> None:
    """Capitals and a logo block along the shaft; sometimes mirrored, as scopes show them."""
    layer = np.zeros(strip.shape[:2], np.uint8)
    letters = "".join(rng.choice(list("ABCDEHIKLMNOPRSTUVX"), size=int(rng.integers(4, 10))))
    start, scale = int(rng.uniform(0.8, 4) * STRIP), STRIP / 40 * float(rng.uniform(0.7, 1.3))
    baseline = int(STRIP * rng.uniform(0.66, 0.8))
    cv2.putText(
        layer, letters, (start, baseline), cv2.FONT_HERSHEY_DUPLEX, scale, 255,
        int(rng.integers(1, 4)), cv2.LINE_AA,
    )  # fmt: skip
    if rng.random() < 0.5:
        tall = int(STRIP * rng.uniform(0.25, 0.45))  # half the logo's height
        x, y = max(0, start - 2 * tall - 8), STRIP // 2
        cv2.rectangle(layer, (x, y - tall), (x + 2 * tall, y + tall), 255, -1)
        cv2.rectangle(layer, (x + tall // 2, y - tall // 2), (x + tall, y + tall), 0, -1)
    if rng.random() < 0.5:
        layer = layer[::-1]
    ink = np.array([40, 42, 60] if dark else [225, 230, 232], np.float32) * rng.uniform(0.8, 1.05)
    strip += layer[..., None] / np.float32(255) * (ink - strip) * np.float32(0.9)


def _smears(strip: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    layer = np.zeros(strip.shape[:2], np.float32)
    for _ in range(int(rng.integers(2, 9))):
        centre = (int(rng.uniform(0, 7) * STRIP), int(rng.uniform(0, STRIP)))
        axes = (int(rng.uniform(3, 30)), int(rng.uniform(2, 9)))
        cv2.ellipse(layer, centre, axes, float(rng.uniform(-20, 20)), 0, 360, 1.0, -1)
    cover = cv2.GaussianBlur(layer, (0, 0), 3)[..., None] * rng.uniform(0.4, 0.9)
    strip += cover * (np.array([120, 16, 18], np.float32) - strip)
