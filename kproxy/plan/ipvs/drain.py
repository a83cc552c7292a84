"""Graceful removal: what left gets no new connections, and goes when its last one ends.

That is a destination that left its Service, and a virtual server that no Service wants any more: the connections of a
deleted one are nobody's to IPVS, and it drops their packets. So such a server leaves by way of its destinations.

A state machine without clock and kernel: told what left and what the kernel counts, it says where to look next and what
is done. Its memory is the kernel's: weight 0 marks a destination that waits, so a restarted agent finds them again.
Only TCP waits. UDP has no end of a connection, and an SCTP association finds another path; both are removed at once, as
kube-proxy does, unless the endpoint still serves: then it stays with weight 0 for as long as it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kproxy.plan.ipvs.server import Destination, VirtualServer

LOOK_EVERY_S = 10.0
"""How often the kernel is asked. kube-proxy does it once a minute."""

DRAINING_WEIGHT = 0


def drains(server: VirtualServer) -> bool:
    """Tell whether a virtual server that leaves, or a destination of it that does, must wait for its connections."""
    return server.protocol == "TCP"


class Drain:
    """The destinations that wait, by virtual server. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._waiting: dict[VirtualServer, set[Destination]] = {}
        self._hurried: set[VirtualServer] = set()
        self._look_at = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def waiting(self, server: VirtualServer) -> tuple[Destination, ...]:
        """Return the destinations of a virtual server that wait."""
        return tuple(self._waiting.get(server, ()))

    def begin(self, destination: Destination) -> None:
        """Enter a destination that left; again is harmless."""
        self._waiting.setdefault(destination.server, set()).add(destination)

    def hurry(self, server: VirtualServer) -> None:
        """Have a virtual server looked at as soon as can be: it may have no connection at all."""
        self._hurried.add(server)

    def end(self, destination: Destination) -> None:
        """Forget a destination: it came back, or is gone."""
        waiting = self._waiting.get(destination.server)
        if waiting is not None:
            waiting.discard(destination)
            if not waiting:
                del self._waiting[destination.server]

    def clear(self) -> None:
        """Forget everything, before the kernel is read back."""
        self._waiting.clear()

    def due(self, now_s: float) -> tuple[VirtualServer, ...]:
        """Return the virtual servers whose destinations are to be counted now."""
        looks = now_s >= self._look_at
        return tuple(server for server in self._waiting if looks or server in self._hurried)

    def looked(
        self, now_s: float, servers: Collection[VirtualServer], connections: Mapping[Destination, int]
    ) -> list[Destination]:
        """Take the number of connections of each destination of the servers that were due; return those that are done.

        One that is not listed is not there: somebody else deleted it.
        """
        self._hurried.clear()
        if now_s >= self._look_at:
            self._look_at = now_s + LOOK_EVERY_S
        waiting = (destination for server in servers for destination in self._waiting.get(server, ()))
        return [destination for destination in waiting if not connections.get(destination)]
