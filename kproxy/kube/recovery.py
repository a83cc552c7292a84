"""When those who wait for a server that fails try again, together. No I/O, no clock.

While any of its watches stands, the server works, and what fails has a reason of its own: it waits its own time. When
none does, one of them tries about twice a second, whichever they are, and the first that works hastens the others. So
a recovery is noticed at once after a long outage too, and a node makes no more requests than one client would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

TRY_S: Final = 0.7
"""Half of it to all of it passes between two attempts; with the request itself that is less than a second."""


class Waiting(Protocol):
    """What is asked of a reflector."""

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""

    @property
    def failing(self) -> bool:
        """Whether the last request failed, and no answer was good since."""

    @property
    def patient(self) -> bool:
        """Whether it fails by what only we can put right, so that asking sooner is of no use."""

    @property
    def start_at(self) -> float:
        """When it asks by itself."""

    @property
    def try_from(self) -> float:
        """When it may be hastened at the earliest."""

    def hasten(self, now: float) -> None:
        """Ask as soon as that is allowed."""


class Recovery:
    """The reflectors of one server. `chance` returns a random number from 0 to 1; times are theirs."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._all: list[Waiting] = []
        self._next_try = float("-inf")

    def join(self, one: Waiting) -> None:
        """Enter a reflector."""
        self._all.append(one)

    def leave(self, one: Waiting) -> None:
        """Take it out again."""
        self._all.remove(one)

    def due(self, one: Waiting) -> float:
        """Return when `one`, which waits, should ask, as things are."""
        if one.patient or self._stands(one):
            return one.start_at
        return min(one.start_at, max(self._next_try, one.try_from))

    def woke(self, one: Waiting, now: float) -> None:
        """Note that `one` has waited until now: if it is its turn, it asks."""
        if now >= self.due(one):
            one.hasten(now)
            self._tried(now)

    def ended(self, one: Waiting, now: float) -> None:
        """Note that a request of `one` has ended."""
        if one.failing:
            self._tried(now)

    def works(self, one: Waiting, now: float) -> None:
        """Note that `one` got a good answer after a failure."""
        if self._stands(one):
            return  # nothing new: two that fail in turn would hasten each other for ever
        for other in self._all:
            if other.idle and other.failing:
                other.hasten(now)

    def _stands(self, one: Waiting) -> bool:
        """Tell whether a request of another one is under way, and not after a failure."""
        return any(other is not one and not other.idle and not other.failing for other in self._all)

    def _tried(self, now: float) -> None:
        self._next_try = now + TRY_S * (0.5 + 0.5 * self._chance())
