"""The longest time without a new connection, packets that were sent again, and what every takeover of a run came to."""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.controlplane.traffic import Traffic

if TYPE_CHECKING:
    from tests.controlplane.traffic import Way
    from tests.lab import Answer, Namespace

#: Of the network namespace of the thread that reads it.
NETSTAT = Path("/proc/thread-self/net/netstat")


class TimedTraffic(Traffic):
    """Traffic that remembers when its new connections were answered, and counts the SYNs that were sent a second time.

    A SYN is sent again when a second has gone by without an answer: it was lost, or this machine was very busy.
    """

    _answered: dict[Way, list[float]]
    sent_again = 0

    def __enter__(self) -> Self:
        self._sources = [self._cluster.namespaces[name] for name in {way.source for way in self._ways}]
        self._before = sum(map(syn_retransmissions, self._sources))
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self.sent_again = sum(map(syn_retransmissions, self._sources)) - self._before

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

    def add(self, what: str, traffic: TimedTraffic) -> None:
        """Of traffic that has ended, and in which nothing was lost."""
        gap = f"{traffic.longest_gap_s() * 1000:6.0f} ms"
        self._lines.append(
            f"{what:<58} {gap}   {traffic.connections:5d} connections, none lost, {traffic.sent_again} SYNs sent again"
        )

    def note(self, line: str) -> None:
        self._lines.append(line)

    def lines(self) -> list[str]:
        return list(self._lines)


def syn_retransmissions(namespace: Namespace) -> int:
    """How many SYNs a host has sent a second time, since it was made."""
    names, values = (
        line.split() for line in namespace.call(NETSTAT.read_text).splitlines() if line.startswith("TcpExt:")
    )
    return int(values[names.index("TCPSynRetrans")])
