"""The Events that wait to be sent: never many, and never many at a time. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kproxy.kube.backoff import BackOff, BackOffPolicy

if TYPE_CHECKING:
    from kproxy.events.event import Report

BURST: Final = 10
"""So many are sent at once ..."""

EVERY_S: Final = 30.0
"""... and one more in each such time, whatever happens: 120 an hour from each node at most."""

MAX_WAITING: Final = 100
"""Beyond that the new ones are dropped, and counted."""

MAX_REFUSALS: Final = 8
"""What was refused so often, on its own account, is dropped: about 2 minutes, while rights may be granted."""

RETRY: Final = BackOffPolicy(1.0, 60.0)


@dataclass(slots=True)
class _Waiting:
    report: Report
    refusals: int = 0


class Outbox:
    """A queue with a token bucket. `dropped` counts what nobody will read.

    The shell takes one with `take`, tries to send it, and says what came of it: `sent`, `lost` or `refused`.
    `chance` is a random number from 0 to 1.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._queue: deque[_Waiting] = deque()
        self._under_way: _Waiting | None = None
        self._tokens = float(BURST)
        self._counted_at = float("-inf")
        self._retry = BackOff(RETRY)
        self._not_before = float("-inf")

    def put(self, report: Report) -> None:
        """Enter one to be sent."""
        if len(self._queue) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._queue.append(_Waiting(report))

    def wait_s(self, now: float) -> float | None:
        """Return how long there is nothing to take, None if that is until something is put in."""
        if not self._queue:
            return None
        self._refill(now)
        until_token = 0.0 if self._tokens >= 1 else (1 - self._tokens) * EVERY_S
        return max(0.0, self._not_before - now, until_token)

    def take(self, now: float) -> Report | None:
        """Return one to be sent now, None if there is none, or not yet. A second attempt needs a token as well."""
        if self.wait_s(now) != 0.0:
            return None
        self._tokens -= 1
        self._under_way = self._queue.popleft()
        return self._under_way.report

    def sent(self) -> None:
        """Note that the server has taken it, or has it already."""
        self._under_way = None
        self._retry.reset()

    def lost(self, now: float, chance: float) -> None:
        """Note that the server could not be reached, or is not well: it is the first to be tried again."""
        if self._under_way is not None:
            self._queue.appendleft(self._under_way)
        self._under_way = None
        self._not_before = now + self._retry.next_s(chance)

    def refused(self, now: float, chance: float, *, for_good: bool) -> None:
        """Note that the server did not take it. Unless that is `for_good` it is tried again, behind the others."""
        waiting, self._under_way = self._under_way, None
        if waiting is None:
            return
        waiting.refusals += 1
        if for_good or waiting.refusals >= MAX_REFUSALS:
            self.dropped += 1
            return
        self._queue.append(waiting)
        self._not_before = now + self._retry.next_s(chance)

    def _refill(self, now: float) -> None:
        passed = max(0.0, now - self._counted_at)
        self._tokens = min(float(BURST), self._tokens + passed / EVERY_S)
        self._counted_at = now
