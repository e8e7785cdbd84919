"""Ships a pretrained backbone: its weights, and the two profiles fitted on it.

    python -m models.training.ship_weights RUN/nano.safetensors

`instrument`: one class, any instrument, from single frames of many procedures.
`phantom`: the kinds of the demo's procedure, from frames of its clips that the demo never shows.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from models.config import NANO, FitConfig
from models.fitting.annotated import AnnotatedFrames, Shots
from models.fitting.fit import FitReport, fit_frames
from models.method.checkpoint import EMBEDDED, load_embedded
from models.method.profile import EMBEDDED as PROFILES
from models.method.profile import save_profile
from models.phantom import CLASSES, DEMO_SEED, Procedure, tissue_lit_tray
from models.types import ClassSpec

FIT_SEED = 2_000_000  # procedures for fitting `instrument`; neither trained nor tested on
INSTRUMENT_FRAMES, PHANTOM_FRAMES = 128, 48
DEMO_SIZE = (240, 320)  # the demo renders at this size; its pictures are not square
INSTRUMENT = ClassSpec(1, "instrument", "#3fb950")


def fit_instrument() -> FitReport:
    """Any instrument: one frame from each of many procedures, some without an instrument.

    In every other the instruments are lit by the tissue, as they are in a narrow pelvis.
    """
    pairs = []
    for number in range(INSTRUMENT_FRAMES):
        seed = FIT_SEED + number
        procedure = Procedure(seed, tissue_lit_tray(seed) if number % 2 else None)
        frame = procedure.clip(0, size=(NANO.image_size,) * 2).render(2.0)
        pairs.append(((frame.image_rgb, (frame.class_mask > 0).astype(np.uint8)), number))
    return _fit("instrument", (INSTRUMENT,), Shots.of(pairs))


def fit_phantom() -> FitReport:
    """The demo's kinds: frames spread over clips 0 to 15 of its procedure."""
    procedure = Procedure(DEMO_SEED)
    pairs = []
    for number in range(PHANTOM_FRAMES):
        clip = procedure.clip(number % 16, size=DEMO_SIZE)
        frame = clip.render(1.0 + 4.3 * (number // 16))
        pairs.append(((frame.image_rgb, frame.class_mask), number % 16))
    used = tuple(spec for spec in CLASSES if spec.class_id in procedure.kinds)
    return _fit("phantom", used, Shots.of(pairs))


def _fit(name: str, classes: tuple[ClassSpec, ...], shots: Shots) -> FitReport:
    ids = [spec.class_id for spec in classes]
    frames = AnnotatedFrames.of(shots.pairs, ids, NANO.image_size, shots.clip)
    profile, report = fit_frames(load_embedded(), classes, frames, FitConfig(progress=True))
    save_profile(profile, PROFILES / f"{name}.safetensors")
    return report


def main(arguments: list[str]) -> None:
    """Copy the weights into the package, if given, and fit both profiles."""
    if arguments and Path(arguments[0]).resolve() != EMBEDDED.resolve():
        shutil.copyfile(arguments[0], EMBEDDED)
    for report in (fit_instrument(), fit_phantom()):
        scores = ", ".join(f"{name} {dsc:.3f}" for name, dsc in report.held_out_dsc.items())
        print(f"{report.frames} frames; held-out DSC: {scores}; ridge {report.ridge:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
