"""Two thousand frames that teach every class, in a process of their own: what others left behind
in an allocator is not the stream's. Prints times, memory and counts as JSON.
"""

from __future__ import annotations

import gc
import json

import psutil

from models.method.checkpoint import load_embedded
from models.types import Update
from tests.models.test_tracker import always_learning, clip_frames


def main() -> None:
    tracker = always_learning(load_embedded())
    frames = clip_frames(50, clip=101)
    process, step_ms, resident, updates = psutil.Process(), [], [], 0
    state = tracker.state_bytes
    for number in range(2000):
        result = tracker.step(frames[number % 50])
        step_ms.append(result.step_ms)
        updates += any(one.update is Update.ACCEPTED for one in result.results)
        if number % 200 == 199:
            gc.collect()
            resident.append(process.memory_info().rss)
    found = {"step_ms": step_ms, "resident": resident, "updates": updates}
    print(json.dumps(found | {"state": [state, tracker.state_bytes]}))


if __name__ == "__main__":
    main()
