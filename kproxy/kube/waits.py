"""When a reflector asks again after a failure, and what is told of it meanwhile. No clock, no random source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kproxy.kube.backoff import BackOff
from kproxy.kube.remedies import OURS, SERVER_WIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.kube.requests import Timing


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that did not do what it was for; `why` in a few words.

    `relist`: nobody can say what was missed, so only a list tells. `retry_after_s`: what the server asked for.
    `unreachable`: there was no connection. `expected`: no failure of the server's; only lists wait for each other.
    `ours`: the server is well, it is our credentials. `cut`: it had taken the watch, and something broke the stream.
    """

    why: str
    relist: bool = False
    retry_after_s: float = 0.0
    unreachable: bool = False
    expected: bool = False
    ours: bool = False
    cut: bool = False


class Waits:
    """What a reflector waits for. `chance` returns a random number from 0 to 1.

    `start_at` is when it asks by itself; what waits may be hastened from `try_from` on. `failing` is True from a
    failure to the next good answer, `ours` if it is our credentials or rights that the server does not accept, and
    `patient` once it has not for longer than a server needs that has just started. `trouble` says why nothing new comes
    at present ("" if it does), and `server_wide` whether the other resources meet the same.

    A failure waits, longer each time; lists wait by a series of their own, so that there is never more than one list
    in a delay. Failing to reach the server costs it nothing and is tried again soon.
    """

    def __init__(self, chance: Callable[[], float], timing: Timing) -> None:
        self.timing = timing
        self.start_at = self.try_from = float("-inf")
        self.failing = self.ours = self.patient = self.server_wide = False
        self.trouble = ""
        self._chance = chance
        self._ours_since = float("inf")
        self._failures = BackOff(timing.failures)
        self._list_delays = BackOff(timing.lists)
        self._unreachable = BackOff(timing.unreachable)

    def hasten(self, now: float) -> None:
        """Make a request that waits as soon as it may be made: the server works again, or somebody must find out."""
        self.start_at = min(self.start_at, max(now, self.try_from))

    def reached(self) -> None:
        """Note that the server answered, whatever it said."""
        self._unreachable.reset()

    def accepted(self) -> None:
        """Note that it gave what was asked for."""
        self.failing = False
        self._ours_since = float("inf")

    def lasted(self, seconds: float) -> None:
        """Forget the failures before an answer that went well for longer than they made it wait."""
        if seconds >= max(self.timing.settled_s, 2 * self._failures.last_s):
            self._failures.reset()
        if seconds >= max(self.timing.lists_settled_s, 2 * self._list_delays.last_s):
            self._list_delays.reset()

    def wait(self, now: float, fault: Fault, status: int, *, listing: bool, tell: bool) -> None:
        """Wait after a fault; `status` is the HTTP status of the answer, 0 without one.

        `listing`: it was a list, and the server had begun to work on it. `tell`: say it at the first time; what
        happens within a watch is only told when it happens again.
        """
        series = self._unreachable if fault.unreachable else self._failures
        delay_s = 0.0 if fault.expected else series.next_s(self._chance())
        if fault.cut:
            delay_s = min(delay_s, self.timing.resume_s * (0.5 + 0.5 * self._chance()))
        least_s = self._list_delays.next_s(self._chance()) if listing else 0.0
        if fault.retry_after_s > max(delay_s, least_s):
            # All clients were told the same: do not come back together.
            least_s = fault.retry_after_s * (1.0 + 0.1 * self._chance())
        if not fault.expected:
            self.failing = True
            if tell or fault.unreachable or series.failures > 1:
                self.trouble = fault.why
                self.server_wide = status in SERVER_WIDE
        self.ours = fault.ours or status in OURS
        self._ours_since = min(self._ours_since, now) if self.ours else float("inf")
        self.patient = now >= self._ours_since + self.timing.start_up_s
        self.try_from = now + least_s
        self.start_at = now + max(delay_s, least_s)
