"""When to sync next: a state machine without a clock. All times are seconds of one monotonic clock."""

from __future__ import annotations

FIRST_RETRY_S = 0.5


class SyncSchedule:
    """Runs as soon as something is asked for, but not more often than `min_period_s`; again after a failure.

    A failed sync is repeated after 0.5, 1, 2 ... seconds, at the latest after `period_s`.
    """

    def __init__(self, period_s: float, min_period_s: float = 0.0) -> None:
        self._period_s = period_s
        self._min_period_s = min_period_s
        self._requested = False
        self._earliest = 0.0
        self._retry_s = FIRST_RETRY_S

    def request(self) -> None:
        """Ask for a sync; several requests before it starts are one."""
        self._requested = True

    def start(self) -> None:
        """Note that a sync takes up everything that was asked for until now."""
        self._requested = False

    def finish(self, now: float, *, failed: bool) -> None:
        """Note the end of a sync."""
        if failed:
            self._requested = True
            self._earliest = now + max(min(self._retry_s, self._period_s), self._min_period_s)
            self._retry_s = min(self._retry_s * 2, self._period_s)
        else:
            self._retry_s = FIRST_RETRY_S
            self._earliest = now + self._min_period_s

    def wait_s(self, now: float) -> float | None:
        """Return how long to wait until a sync is due (0: now); None when nothing is asked for."""
        return max(0.0, self._earliest - now) if self._requested else None
