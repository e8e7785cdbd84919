"""`trocar bench golden`: does the method still reach what README claims of it?

`golden.json` has what `trocar bench embedded` averages for README's claims, one figure for each of
its clips and procedures. A golden few of them are measured again in every run of the tests, in half
a minute. How far they have moved, added to the mean of all, estimates what all would give now: each
is compared with its own figure of before, so a hard clip does not look like a defect.
"""

from __future__ import annotations

import json
import multiprocessing as mp
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality.embedded import (
    SHOTS,
    each,
    few_shot_profile,
    find_in_clip,
    name_seed,
    named_clips,
    run_clips,
)
from benchmarks.quality.metrics import Spread
from benchmarks.result_file import result, write_result
from benchmarks.speed.variants import VARIANTS
from models.method.checkpoint import load_embedded
from models.tracking.tracker import Tracker

FILE = Path(__file__).with_name("golden.json")
CLIPS, PROCEDURES = 50, 40  # as README's claims
GOLDEN_CLIPS = range(6)
GOLDEN_PROCEDURES = (0, 1, 3, 5)  # the last runs the memory path beside the head, the others do not
TOLERANCE = 0.02  # below a claim; another processor's rounding moved the mean of all by 0.0001
FOUND = "any-instrument DSC, nothing annotated"
CLASS_DSC, ANY_DSC, NAMED = "class DSC", "any-instrument DSC", "right names"


@dataclass(frozen=True)
class Claim:
    """A figure in README.

    known: what every clip or procedure had when `golden.json` was written, by number
    """

    value: float
    known: tuple[float, ...]

    def estimate(self, now: Mapping[int, float]) -> float:
        """The mean of all as the code is now. now: the figures of some, by number

        A clip without instruments has no figure (NaN) and says nothing.
        """
        moved = Spread.of([figure - self.known[number] for number, figure in now.items()])
        return Spread.of(self.known).mean + moved.mean

    def holds(self, now: Mapping[int, float]) -> bool:
        """Is the estimate at most TOLERANCE below the claim?"""
        return self.estimate(now) >= self.value - TOLERANCE


def read_claims(path: Path = FILE) -> dict[str, Claim]:
    """By name: FOUND, CLASS_DSC, ANY_DSC, NAMED."""
    content = json.loads(path.read_text())
    return {
        name: Claim(one["claim"], tuple(np.asarray(one["known"], float).tolist()))
        for name, one in content["claims"].items()
    }


def find(number: int) -> dict[str, float]:
    """One clip, nothing annotated."""
    return {FOUND: find_in_clip(number).foreground_dsc()}


def name(number: int) -> dict[str, float]:
    """One procedure, by the full method from SHOTS frames of other clips."""
    weights, seed = load_embedded(), name_seed(number)
    profile = few_shot_profile(weights, seed, SHOTS)
    tally = run_clips(Tracker(weights, profile, VARIANTS["full"]), named_clips(seed))
    return {
        CLASS_DSC: tally.class_dsc(),
        ANY_DSC: tally.foreground_dsc(),
        NAMED: tally.named_share(),
    }


def run_golden(out: Path, note: str) -> int:
    """Measure every clip and procedure, print the means beside the claims, write them."""
    with ProcessPoolExecutor(
        mp_context=mp.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as workers:
        units = each(workers, find, CLIPS, "find") + each(workers, name, PROCEDURES, "name")
    claims = {}
    for key, claim in read_claims().items():
        known = [one[key] for one in units if key in one]
        claims[key] = {"claim": claim.value, "mean": Spread.of(known).mean, "known": known}
        print(f"{key:40} {Spread.of(known)}   claimed {claim.value:.2f}")
    settings = {"clips": CLIPS, "procedures": PROCEDURES}
    write_result(result("golden", settings, note, claims=claims), out)
    return 0
