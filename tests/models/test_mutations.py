"""A few spoilt files through every reader; the script takes thousands (support/mutations.py)."""

from __future__ import annotations

from pathlib import Path

from tests.support.mutations import KINDS, run


def test_spoilt_files_are_read_or_refused(tmp_path: Path) -> None:
    tallies, wrong = run(6 * len(KINDS), seed=12, kept=tmp_path / "kept")
    assert wrong == []
    assert sum(sum(one.outcomes.values()) for one in tallies.values()) == 6 * len(KINDS)
    assert all(one.longest_s < 10 for one in tallies.values())
