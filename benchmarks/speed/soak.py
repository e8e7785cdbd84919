"""`trocar bench soak`: is the step as quick at the end as at the beginning, and memory bounded?"""

from __future__ import annotations

import gc
import resource
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.result_file import result, write_result
from benchmarks.speed.subject import Subject, pictures
from benchmarks.speed.timing import StepTimer


def run_soak(frames: int, engine: str, out: Path, note: str = "") -> int:
    """Measure, print one line, write the JSON."""
    content = measure_soak(frames, engine, note)
    write_result(content, out)
    print(
        f"last tenth / second tenth: {content['last_over_second_tenth']:.3f} of the median step, "
        f"{content['undisturbed_last_over_second_tenth']:.3f} of the 20th percentile; "
        f"memory grew by {content['resident_growth_mb']:.1f} MB after the second tenth"
    )
    return 0


def measure_soak(frames: int, engine: str, note: str = "") -> dict[str, Any]:
    """The result file's content. frames: ten or more

    One class at a time learns, as in a live stream.
    """
    run, images = StepTimer(Subject().tracker(engine, timed=True)), pictures()
    tenth = max(1, frames // 10)
    steps: list[float] = []
    resident: list[float] = []
    for number in tqdm(range(frames), unit="frame", desc="soak"):
        steps.append(run.step(images[number % len(images)], counts=False))
        if number % tenth == tenth - 1:
            gc.collect()
            resident.append(_resident_mb())
    tenths = [steps[start : start + tenth] for start in range(0, tenth * 10, tenth)]
    medians = [float(np.median(part)) for part in tenths]
    quiet = [float(np.percentile(part, 20)) for part in tenths]
    return result(
        "soak",
        {"frames": frames, "engine": engine, "classes": 4},
        note,
        step_ms_p50_by_tenth=[round(value, 3) for value in medians],
        step_ms_p20_by_tenth=[round(value, 3) for value in quiet],
        last_over_second_tenth=round(medians[-1] / medians[1], 4),
        undisturbed_last_over_second_tenth=round(quiet[-1] / quiet[1], 4),
        resident_mb_by_tenth=[round(value, 1) for value in resident],
        resident_growth_mb=round(resident[-1] - resident[1], 1),
        state_bytes=run.tracker.state_bytes,
    )


def _resident_mb() -> float:
    """Resident memory now; its peak where the system does not say."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
