"""Graceful removal: a destination that left its Service gets no new connections, and goes when its last one ends.

A state machine without clock and kernel: told what left and what the kernel counts, it says where to look next and what
is done. Its memory is the kernel's: weight 0 marks a destination that waits, so a restarted agent finds them again.
Only TCP waits. UDP has no end of a connection, and an SCTP association finds another path; both are removed at once, as
kube-proxy does, unless the endpoint still serves: then it stays with weight 0 for as long as it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.plan.ipvs.server import Destination, VirtualServer

LOOK_EVERY_S = 10.0
"""How often the kernel is asked. kube-proxy does it once a minute."""

DRAINING_WEIGHT = 0


def drains(destination: Destination) -> bool:
    """Tell whether a destination that leaves must wait for its connections."""
    return destination.server.protocol == "TCP"


class Drain:
    """The destinations that wait, by virtual server. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._waiting: dict[VirtualServer, set[Destination]] = {}
        self._look_at = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def waiting(self, server: VirtualServer) -> tuple[Destination, ...]:
        """Return the destinations of a virtual server that wait."""
        return tuple(self._waiting.get(server, ()))

    def begin(self, destination: Destination) -> None:
        """Enter a destination that left; again is harmless."""
        self._waiting.setdefault(destination.server, set()).add(destination)

    def end(self, destination: Destination) -> None:
        """Forget a destination: it came back, or is gone."""
        waiting = self._waiting.get(destination.server)
        if waiting is not None:
            waiting.discard(destination)
            if not waiting:
                del self._waiting[destination.server]

    def forget(self, server: VirtualServer) -> None:
        """Forget a virtual server, which takes its destinations with it."""
        self._waiting.pop(server, None)

    def clear(self) -> None:
        """Forget everything, before the kernel is read back."""
        self._waiting.clear()

    def due(self, now_s: float) -> tuple[VirtualServer, ...]:
        """Return the virtual servers whose destinations are to be counted now."""
        return tuple(self._waiting) if self._waiting and now_s >= self._look_at else ()

    def looked(self, now_s: float, counted: Iterable[tuple[Destination, int]]) -> list[Destination]:
        """Take the number of connections of each destination that was listed; return those that are done."""
        self._look_at = now_s + LOOK_EVERY_S
        return [
            destination
            for destination, connections in counted
            if connections == 0 and destination in self._waiting.get(destination.server, ())
        ]
