"""The benchmark of the display page in Chromium, for a few seconds."""

from __future__ import annotations

import pytest

from benchmarks.in_browser import VIEWS, InBrowserConfig, measure


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
