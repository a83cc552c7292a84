"""The longest time without a new connection, and what every takeover of a run came to."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.controlplane.traffic import Traffic

if TYPE_CHECKING:
    from tests.controlplane.traffic import Way
    from tests.lab import Answer


class TimedTraffic(Traffic):
    """Traffic that remembers when its new connections were answered."""

    _answered: dict[Way, list[float]]

    def longest_gap_s(self) -> float:
        """The longest time between two answered connections of one way."""
        times = self._answered.values()
        return max((after - before for one in times for before, after in pairwise(one)), default=0.0)

    def _judge(self, what: str, way: Way, answer: Answer) -> bool:
        good = super()._judge(what, way, answer)
        if what == "new" and good:
            if not hasattr(self, "_answered"):
                self._answered = defaultdict(list)
            self._answered[way].append(time.monotonic())
        return good


class Gaps:
    """What was measured, for the end of the run."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, what: str, gap_s: float, connections: int) -> None:
        self._lines.append(f"{what:<58} {gap_s * 1000:6.0f} ms   {connections:6d} connections, none lost")

    def lines(self) -> list[str]:
        return list(self._lines)
