"""A stream that goes on: neither memory nor step time grows."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest


@pytest.mark.timeout(900)
def test_memory_and_step_time_are_flat_over_two_thousand_frames() -> None:
    run = [sys.executable, "-m", "tests.support.flat_stream"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    step_ms, resident = found["step_ms"], found["resident"]
    assert found["updates"] > 1000, "the stream must really have been learning"
    assert found["state"][0] == found["state"][1] < 64e6
    # The least of several: how much the allocator holds besides swings by tens of megabytes.
    assert min(resident[-4:]) < min(resident[1:5]) * 1.02 + 8e6
    # The 20th percentile: what a step takes when nobody else wants the core.
    early, late = np.percentile(step_ms[200:600], 20), np.percentile(step_ms[-400:], 20)
    assert late < early * 1.3
