"""The benchmark of the display page in Chromium, for a few seconds."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.live.browser_stages import Noted, latencies_ms, stages_ms
from benchmarks.live.in_browser import VIEWS, InBrowserConfig, measure


@pytest.mark.alone
@pytest.mark.browser
async def test_both_views_are_measured(chromium: str) -> None:
    config = InBrowserConfig(seconds=3, warm_up_s=4, size=(240, 320), fps=10, chromium=chromium)
    result = await measure(config)
    for view in VIEWS:
        found = result[view]
        assert found["n"] > 5
        assert found["unreadable"] <= 2
        assert 5 < found["p50"] < 2000, "later than its capture, and not by much"
        assert found["clock_doubt_ms"] < found["p50"]
        stages = found["stages_ms"]
        assert 0 < stages["capture_to_sent"] < found["p50"]
        assert stages["received_to_callback"] > 0
    assert result["composed"]["stages_ms"]["capture_to_mask_received"] > 0


def test_a_frames_time_is_split_where_it_went() -> None:
    """Captured at 100; received at 110, called back for at 120, mask at 125, drawn at 130."""
    cells = [int(bit) for bit in np.unpackbits(np.array([0, 7, 7 * 167 + 0x5A & 255], np.uint8))]
    noted = Noted(
        seen=[(30, cells), (35, [0] * 24)],
        called=[(20, 10, 9000, None)],
        came=[(25, 9000, 7), (26, 9001, 8)],
        offset_ms=100,
    )
    assert latencies_ms(noted, {7: 100}) == ([30], 1)
    assert stages_ms(noted, {7: 100}, sent_ms=6) == {
        "capture_to_sent": 6,
        "sent_to_received": 4,
        "received_to_callback": 10,
        "callback_to_drawn": 10,
        "capture_to_mask_received": 25,
        "callback_to_mask_received": 5,
    }
