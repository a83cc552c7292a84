"""Answers what comes in by TCP: many queries on a connection, answered in the order in which the answers are known.

Bounded: connections in all and per client (the one that was idle longest gives way), queries under way and octets
unsent per connection (it is not read then), and idleness (RFC 7766, 9210).
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kproxy.dns.forward import Forward
from kproxy.dns.server.loop import GONE, READ, WRITE
from kproxy.dns.stream import MessageStream, Unframed, framed

if TYPE_CHECKING:
    from kproxy.dns.responder import Responder
    from kproxy.dns.server.loop import Loop
    from kproxy.dns.server.outside import Outside
    from kproxy.dns.tally import Tally

READ_OCTETS: Final = 64 * 1024


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


class TcpServer:
    """One listening socket and its answers."""

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        outside: Outside,
        tally: Tally,
        loop: Loop,
        connections: Connections,
    ) -> None:
        self.sock = sock
        self.answer = responder.answer
        self.outside = outside
        self.tally = tally
        self.loop = loop
        self.connections = connections

    def readable(self, _events: int) -> None:
        """Accept who has come, a few at a time."""
        for _ in range(16):
            if not self._accept():
                return

    def drain(self) -> None:
        """Accept who has come, and nobody any more."""
        while self._accept():
            pass
        self.sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> bool:
        try:
            sock, address = self.sock.accept()
        except OSError:
            return False  # nobody is left, or there is no descriptor: it stays in the queue
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        TcpConnection(self, sock, address[0])
        return True


class TcpConnection:
    """One client's connection."""

    def __init__(self, server: TcpServer, sock: socket.socket, client: str) -> None:
        self.client = client
        self.active_at = server.loop.now
        self._server = server
        self._sock = sock
        self._fd = sock.fileno()
        self._stream = MessageStream()
        self._unsent = b""
        self._waiting = 0
        self.asked = False
        self._finishing = self._ending = False
        self._events = READ
        server.loop.watch(self._fd, self._ready)
        server.connections.enter(self)

    @property
    def is_open(self) -> bool:
        """Whether it was not closed."""
        return self._fd >= 0

    def send_late(self, _peer: bytes, reply: bytes) -> None:
        """Send an answer that had to be asked for."""
        self._waiting -= 1
        if self.is_open:
            self._send(framed(reply))

    def finish(self) -> None:
        """Answer what has come, and the first query of who has only just come; then close."""
        self._finishing = True
        self._read()
        if self.asked:
            self._ending = True
            self._adjust()

    def close(self) -> None:
        """Close it now."""
        if self.is_open:
            self._server.loop.forget(self._fd)
            self._server.connections.leave(self)
            self._fd = -1
            self._sock.close()

    def _ready(self, events: int) -> None:
        if events & GONE:
            self.close()
            return
        if events & WRITE:
            self._send(b"")
        if self.is_open and events & READ:
            self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            # It may only have said that nothing more will come: what was asked is answered.
            self._ending = True
            self._adjust()
            return
        self._server.connections.active(self)
        try:
            self._answer(self._stream.feed(data))
        except Unframed:
            self.close()

    def _answer(self, queries: list[bytes]) -> None:
        server, since = self._server, time.perf_counter()
        replies = []
        self.asked |= bool(queries)
        self._ending |= self._finishing and self.asked
        for query in queries:
            reply = server.answer(query)
            if type(reply) is Forward:
                self._waiting += 1
                reply = server.outside.ask(reply, len(query), (self, b""), self.client, server.tally)
                if reply is not None:
                    self._waiting -= 1
            if reply is not None:
                replies.append(framed(reply))  # type: ignore[arg-type]
        self._send(b"".join(replies))
        server.tally.answered(time.perf_counter() - since, len(queries), len(replies))

    def _send(self, data: bytes) -> None:
        data = self._unsent + data
        if data:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            if sent:
                self._server.connections.active(self)
            self._unsent = data[sent:]
        self._adjust()

    def _adjust(self) -> None:
        """Wait for what is to come next; close if nothing is."""
        if not self.is_open:
            return
        limits = self._server.connections.limits
        if self._ending and not self._waiting and not self._unsent:
            self.close()
            return
        full = len(self._unsent) > limits.unsent or self._waiting > limits.waiting
        events = (0 if self._ending or full else READ) | (WRITE if self._unsent else 0)
        if events != self._events:
            self._events = events
            self._server.loop.change(self._fd, events)
