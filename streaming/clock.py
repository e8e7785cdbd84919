"""Times of a recording's pictures: from its first on, always rising, whatever its clock does."""

from __future__ import annotations

SECOND = 1_000_000_000
RESTART_NS = 10 * SECOND  # a jump ahead that is no pause but another clock, where clocks may change
ABSURD_NS = 30 * 3600 * SECOND  # a jump ahead that no recording has
SLIP_NS = SECOND // 10  # a step back that is no restart: times that were rounded


class Clock:
    """Continues a clock that starts again, jumps back or jumps ahead by the frame interval.

    As the ffmpeg command does: a pause is a pause, but where pieces may have been joined (transport
    and program streams) one of over ten seconds is a clock that was set.
    """

    def __init__(self, *, may_be_joined: bool, decoding_order: bool = False) -> None:
        """decoding_order: the container has no times of presentation (AVI)"""
        self._longest_ns = RESTART_NS if may_be_joined else ABSURD_NS
        self._decoding_order = decoding_order
        self._offset_ns: int | None = None
        self._former_ns = 0  # where the clock was before it was set
        self._last_ns = -1

    def at(self, pts_ns: int | None, dts_ns: int | None, interval_ns: int) -> int:
        """Nanoseconds of the next picture. interval_ns: how long the picture before it stays"""
        stated = dts_ns if self._decoding_order else pts_ns
        if self._last_ns < 0:
            self._offset_ns = None if stated is None else -stated
            self._last_ns = 0
            return 0
        expected = self._last_ns + interval_ns
        self._last_ns = expected if stated is None else self._continued(stated, expected)
        return self._last_ns

    def _continued(self, stated: int, expected: int) -> int:
        if self._offset_ns is None:  # the first picture had no time
            self._offset_ns = expected - stated
        shown, former = stated + self._offset_ns, stated + self._former_ns
        if abs(shown - expected) > SLIP_NS and self._last_ns < former <= expected + SLIP_NS:
            self._offset_ns, self._former_ns = self._former_ns, self._offset_ns
            return former  # it was one wrong time, not another clock
        if expected - SLIP_NS < shown <= expected + self._longest_ns:
            return max(shown, self._last_ns + 1)
        self._former_ns, self._offset_ns = self._offset_ns, expected - stated
        return expected
