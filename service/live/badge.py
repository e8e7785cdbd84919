"""What the picture is, in one or two words that are always true."""

from __future__ import annotations

from enum import StrEnum


class Badge(StrEnum):
    """What the picture is, in the viewer's words."""

    LIVE = "LIVE"
    DEMO = "DEMO"
    RECORDING = "RECORDING"  # a file at its own pace is not live
    # The model is slower than the video: fewer pictures, every mask still exact.
    LIVE_SLOW = "LIVE, MODEL RATE"
    DEMO_SLOW = "DEMO, MODEL RATE"
    RECORDING_SLOW = "RECORDING, MODEL RATE"
    LATE = "AI LATE"
    OFF = "AI OFF"
    LOST = "SOURCE LOST"
    ENDED = "RECORDING ENDED"
    STALE = "PICTURE STALE"  # frames come, but no picture of them goes out
    STARTING = "STARTING"


AT_MODEL_RATE = {
    Badge.LIVE: Badge.LIVE_SLOW,
    Badge.DEMO: Badge.DEMO_SLOW,
    Badge.RECORDING: Badge.RECORDING_SLOW,
}
BADGE_COLORS = {Badge.LATE: (242, 204, 96), Badge.OFF: (248, 81, 73), Badge.LOST: (248, 81, 73)}
