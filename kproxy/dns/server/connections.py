"""The TCP connections of a worker, as many as there may be: who was idle longest gives way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kproxy.dns.server.loop import Loop
    from kproxy.dns.server.tcp import TcpConnection


@dataclass(frozen=True, slots=True)
class TcpLimits:
    """Bounds of one worker. Times in seconds."""

    connections: int = 1000
    per_client: int = 100
    waiting: int = 100
    unsent: int = 256 * 1024
    idle_s: float = 10.0
    first_s: float = 1.0
    """At the end: how long a new connection's first query is waited for."""


class Connections:
    """All connections of a worker, those in front that were idle longest."""

    def __init__(self, loop: Loop, limits: TcpLimits | None = None) -> None:
        self.limits = limits or TcpLimits()
        self._loop = loop
        self._all: dict[TcpConnection, None] = {}
        self._per_client: dict[str, int] = {}
        loop.every(1.0, self._close_idle)

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, connection: TcpConnection) -> None:
        """Take in a new one."""
        client = connection.client
        if len(self._all) >= self.limits.connections:
            next(iter(self._all)).close()
        elif self._per_client.get(client, 0) >= self.limits.per_client:
            next(one for one in self._all if one.client == client).close()
        self._all[connection] = None
        self._per_client[client] = self._per_client.get(client, 0) + 1

    def active(self, connection: TcpConnection) -> None:
        """Note that something was done."""
        del self._all[connection]
        self._all[connection] = None
        connection.active_at = self._loop.now

    def leave(self, connection: TcpConnection) -> None:
        """Forget one that was closed."""
        del self._all[connection]
        left = self._per_client[connection.client] - 1
        if left:
            self._per_client[connection.client] = left
        else:
            del self._per_client[connection.client]

    def finish(self) -> None:
        """Close those that have nothing under way, and the others when they are done."""
        self._loop.after(self.limits.first_s, self._close_silent)
        for connection in list(self._all):
            connection.finish()

    def _close_silent(self) -> None:
        for connection in [one for one in self._all if not one.asked]:
            connection.close()

    def _close_idle(self) -> None:
        oldest = self._loop.now - self.limits.idle_s
        for connection in list(self._all):
            if connection.active_at > oldest:
                return
            connection.close()
