"""Counts what one socket's answers were like. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from kproxy.dns.feed import Counted, Listening, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kproxy.dns.kept import Kind

DURATION_BUCKETS: Final = tuple(0.00025 * 2**n for n in range(16))
"""Upper bounds in seconds; CoreDNS's."""


class Buckets:
    """A histogram of durations."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration that so many had."""
        self.counts[bisect_left(DURATION_BUCKETS, seconds)] += times
        self.total += seconds * times

    def sample(self, name: str, *labels: str) -> Sample:
        """Return what was counted, and begin anew."""
        sample = Sample(name, labels, self.counts, self.total)
        self.counts, self.total = [0] * len(self.counts), 0.0
        return sample


class Tally:
    """One socket's counts. `taken` are queries in all, `lost` replies that the kernel did not take."""

    def __init__(self, listening: Listening, family: int) -> None:
        self.listening = listening
        self.family = family
        self.taken = 0
        self.lost = 0
        self._durations = Buckets()
        self._outside: dict[Kind, int] = {}

    def answered(self, seconds: float, taken: int, answered: int) -> None:
        """Count queries that came together, of which so many were answered, each after so long."""
        self.taken += taken
        self._durations.add(seconds, answered)

    def late(self, seconds: float) -> None:
        """Count one whose answer had to be asked for."""
        self._durations.add(seconds)

    def outside(self, kind: Kind) -> None:
        """Count a reply that is not the responder's own."""
        self._outside[kind] = self._outside.get(kind, 0) + 1

    def take_replies(self, own: Mapping[Kind, int]) -> list[Counted]:
        """Return the replies since the last call; `own` are the responder's."""
        outside, self._outside = self._outside, {}
        listening = self.listening
        return [
            Counted(listening.server, listening.protocol, self.family, *kind, times)
            for kind, times in [*own.items(), *outside.items()]
        ]

    def take_durations(self) -> Sample:
        """Return how long queries took since the last call."""
        return self._durations.sample("request", self.listening.server)
