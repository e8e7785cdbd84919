"""Accuracy is held: README's claims, by a golden few of the clips and procedures behind them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.quality import golden
from benchmarks.quality.golden import ANY_DSC, CLASS_DSC, FOUND, NAMED, Claim
from benchmarks.quality.metrics import Spread

ROOT = Path(__file__).parents[2]
CLAIMS = golden.read_claims()


def held(name: str, now: dict[int, dict[str, float]]) -> None:
    claim, figures = CLAIMS[name], {number: one[name] for number, one in now.items()}
    each = (f"{n}: {claim.known[n]:.3f} -> {figure:.3f}" for n, figure in figures.items())
    if not claim.holds(figures):
        pytest.fail(
            f"{name}: README claims {claim.value:.2f}, now it would be "
            f"{claim.estimate(figures):.3f} ({', '.join(each)}). If that is meant, let README say "
            "what `trocar bench embedded` does, and measure `trocar bench golden`"
        )


@pytest.mark.usefixtures("one_thread")
def test_instruments_are_found_as_claimed() -> None:
    held(FOUND, {number: golden.find(number) for number in golden.GOLDEN_CLIPS})


@pytest.mark.usefixtures("one_thread")
def test_kinds_are_told_as_claimed() -> None:
    now = {number: golden.name(number) for number in golden.GOLDEN_PROCEDURES}
    for name in (CLASS_DSC, ANY_DSC, NAMED):
        held(name, now)


def test_the_claims_are_those_of_readme() -> None:
    """And of the result that it links to, and of what the golden figures are compared with."""
    readme = (ROOT / "README.md").read_text()
    embedded = json.loads((ROOT / "benchmarks/results/embedded.json").read_text())
    full = embedded["name"]["variants"]["full"]
    linked = {
        FOUND: embedded["find"]["foreground_dsc"],
        CLASS_DSC: full["class_dsc"],
        ANY_DSC: full["foreground_dsc"],
        NAMED: full["rightly_named"],
    }
    assert CLAIMS.keys() == linked.keys()
    for name, claim in CLAIMS.items():
        assert re.search(rf"\b{claim.value:.2f}\b", readme), f"{name}: not in README"
        assert round(linked[name]["mean"], 2) == claim.value
        assert Spread.of(claim.known).mean == pytest.approx(claim.value, abs=0.0075)
        assert len(claim.known) == (golden.CLIPS if name == FOUND else golden.PROCEDURES)


def test_a_fall_of_more_than_the_tolerance_fails() -> None:
    """In what all would give: where the golden ones are easier than the rest, too."""
    claim = Claim(0.76, (0.9, 0.8, float("nan"), 0.58))
    assert claim.holds({0: 0.89, 1: 0.8, 2: float("nan")})
    assert claim.estimate({0: 0.88, 1: 0.79}) == pytest.approx(0.76 - 0.015)
    assert not claim.holds({0: 0.88, 1: 0.77})
    assert not claim.holds({0: float("nan")})
