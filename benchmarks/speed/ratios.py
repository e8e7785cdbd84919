"""A short run's ratios, which hold on any machine, beside the committed ones.

Times differ from machine to machine and from minute to minute; ratios between two runs that take
turns differ little. `python -m benchmarks.speed.ratios` writes baseline.json anew.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_file import result, write_result
from benchmarks.speed.peers import WARM_UP, Predictor
from benchmarks.speed.subject import Subject, pictures
from benchmarks.speed.timing import StepTimer
from models.types import UInt8Array

BASELINE = Path(__file__).with_name("baseline.json")
FRAMES, WARM_STEPS = 16, 4
RUNS = 3  # of which a new baseline is the median
TOLERANCE = 1.45  # a ratio may be this many times worse: processors differ, neighbours are noisy
WHAT = {  # each is better the smaller it is
    "onnx over torch": "a step of the onnx engine over one of our torch engine",
    "onnx over predictor": "the same over a frame of sam2's own video predictor",
    "4 classes over 1": "a step with four classes over one with one",
    "updates over none": "a live stream's step with updates over one without",
    "look with updates over without": "time to the masks with updates over that without",
}


def short_ratios() -> dict[str, float]:
    """The ratios of WHAT, medians over frames that all runs step through in turn."""
    plain = Subject()
    weights = plain.weights()
    runs = {
        "onnx": StepTimer(plain.tracker("auto", weights, timed=True)),
        "torch": StepTimer(plain.tracker("torch", weights, timed=True)),
        "one": StepTimer(replace(plain, classes=1).tracker("auto", weights, timed=True)),
        "still": StepTimer(replace(plain, learning=False).tracker("auto", weights, timed=True)),
    }
    frames = pictures((256, 256), WARM_STEPS + FRAMES)
    for number, image in enumerate(frames):
        for run in runs.values():
            run.step(image, counts=number >= WARM_STEPS)
    steps = {name: np.array(run.step_ms) for name, run in runs.items()}
    looks = {name: np.array(run.look_ms) for name, run in runs.items()}
    peer = _predictor_ms(frames)
    ratios = {
        "onnx over torch": steps["onnx"] / steps["torch"],
        "onnx over predictor": steps["onnx"] / peer,
        "4 classes over 1": steps["onnx"] / steps["one"],
        "updates over none": steps["onnx"] / steps["still"],
        "look with updates over without": looks["onnx"] / looks["still"],
    }
    return {name: round(float(np.median(each)), 3) for name, each in ratios.items()}


def _predictor_ms(frames: list[UInt8Array]) -> float:
    subject = Subject()
    return Predictor(subject.weights(), subject.classes).frame_ms(frames[: WARM_UP + 8])


def regressions(found: dict[str, float], baseline: dict[str, Any]) -> list[str]:
    """One line for each ratio that is worse than its baseline by more than the tolerance."""
    return [
        f"{name}: {WHAT[name]} was {was:.2f}, is {found[name]:.2f}, "
        f"more than {TOLERANCE} times as much"
        for name, was in baseline["ratios"].items()
        if found[name] > was * TOLERANCE
    ]


def read_baseline() -> dict[str, Any]:
    """The committed ratios."""
    content: dict[str, Any] = json.loads(BASELINE.read_text())
    return content


def main(arguments: list[str]) -> None:
    """Measure a few times and write the baseline. arguments: a note on what else was running"""
    note = " ".join(arguments)
    runs = [short_ratios() for _ in range(RUNS)]
    middle = {name: round(float(np.median([run[name] for run in runs])), 3) for name in WHAT}
    content = result("ratios", {"frames": FRAMES, "runs": RUNS}, note, ratios=middle)
    write_result(content, BASELINE)
    print(json.dumps(content["ratios"], indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
