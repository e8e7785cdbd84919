"""`trocar bench`: how fast is it here? One table, in three minutes at most on two cores."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.result_file import result, write_result
from benchmarks.speed.peers import PeersConfig, measure_peers, peers_table
from benchmarks.speed.scale import ScaleConfig, measure_axis
from benchmarks.speed.stages import StagesConfig, measure_stages, stages_table
from benchmarks.speed.subject import Subject

FRAMES, ROUNDS, PEER_FRAMES, POINT_S = 120, 3, 15, 4.0


def run_tour(out: Path | None, note: str = "") -> int:
    """Measure, print, and write the JSON if a path is given."""
    started = time.perf_counter()
    plain = Subject()
    stages = measure_stages(StagesConfig(plain, frames=FRAMES, warm_up=5))
    peers = measure_peers(PeersConfig(plain, ("onnx",), ROUNDS, PEER_FRAMES))
    scale = ScaleConfig("onnx", POINT_S)
    classes = measure_axis("classes", {str(n): replace(plain, classes=n) for n in (1, 4)}, scale)
    still = replace(plain, learning=False)
    updates = measure_axis("updates", {"off": still, "on": plain}, scale)
    content = result(
        "tour",
        plain.settings(),
        note,
        seconds=round(time.perf_counter() - started, 1),
        stages={key: stages[key] for key in ("engines", "torch_over_onnx")},
        peers={key: peers[key] for key in ("frame_ms", "times_the_predictor")},
        classes=classes,
        updates=updates,
    )
    write_result(content, out)
    print(tour_table(content))
    return 0


def tour_table(content: dict[str, Any]) -> str:
    """For a person."""
    classes, updates = content["classes"], content["updates"]
    p95 = [updates[label]["step_ms"]["p95"] for label in ("off", "on")]
    shown = [updates[label]["look_ms"]["p95"] for label in ("off", "on")]
    machine = content["environment"]
    return "\n".join(
        [
            f"NANO at 256 px, four classes, each sure enough to learn; {machine['processor']}, "
            f"{machine['threads']} threads, load {machine['load_average'][0]}",
            stages_table(content["stages"]),
            "",
            peers_table(content["peers"]),
            "",
            f"four classes over one: {classes['4']['times_the_first']:.2f} of a step, "
            f"{classes['4']['look_times_the_first']:.2f} of the time to the masks",
            f"updates: p95 to the masks {shown[0]:.1f} ms without, {shown[1]:.1f} ms with; "
            f"whole step {p95[0]:.1f} ms without, {p95[1]:.1f} ms with",
            f"measured in {content['seconds']:.0f} s",
        ]
    )
