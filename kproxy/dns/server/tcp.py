"""Answers what comes in by TCP: many queries on a connection, answered in the order in which the answers are known.

Bounded: connections in all and per client (the one that was idle longest gives way), queries under way and octets
unsent per connection (it is neither answered nor read then), and idleness (RFC 7766, 9210).
"""

from __future__ import annotations

import socket
import time
from collections import deque
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from kproxy.dns.forward import Forward
from kproxy.dns.server.loop import GONE, READ, WRITE
from kproxy.dns.stream import MessageStream, Unframed, framed
from kproxy.dns.transfer import ZoneChanged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from kproxy.dns.responder import Responder
    from kproxy.dns.server.connections import Connections
    from kproxy.dns.server.loop import Loop
    from kproxy.dns.server.outside import Outside
    from kproxy.dns.tally import Tally

READ_OCTETS: Final = 64 * 1024


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
        transfer_to: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self.sock = sock
        self.answer = responder.answer
        self.outside = outside
        self.tally = tally
        self.loop = loop
        self.connections = connections
        self.transfer = responder.transfer
        self._transfer_to = transfer_to

    def may_have_the_zone(self, client: str) -> bool:
        """Tell whether an IP address is one of those that may."""
        return any(ip_address(client) in network for network in self._transfer_to)

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
        self._queries: deque[bytes] = deque()
        self._unsent = b""
        self._may_have_the_zone = server.may_have_the_zone(client)
        self._transfer: Iterator[bytes] | None = None
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
            self._queries.clear()

    def _ready(self, events: int) -> None:
        if events & GONE:
            self.close()
            return
        if events & WRITE:
            self._send(b"")
            if self._queries:
                self._answer()
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
            self._queries += self._stream.feed(data)
        except Unframed:
            self.close()
            return
        self._answer()

    def _full(self, unsent: int) -> bool:
        """Tell whether the client has to take something first: a few octets of queries make many of replies."""
        limits = self._server.connections.limits
        return unsent > limits.unsent or self._waiting > limits.waiting

    def _answer(self) -> None:
        """Answer what has come, as far as there is room."""
        server, since, before = self._server, time.perf_counter(), len(self._queries)
        replies, octets = [], len(self._unsent)
        self.asked |= bool(self._queries)
        self._ending |= self._finishing and self.asked
        while self._queries and not self._full(octets):
            query = self._queries.popleft()
            if self._may_have_the_zone and self._begin(query):
                continue
            reply = server.answer(query)
            if type(reply) is Forward:
                self._waiting += 1
                reply = server.outside.ask(reply, len(query), (self, b""), self.client, server.tally)
                if reply is not None:
                    self._waiting -= 1
            if reply is not None:
                replies.append(framed(reply))  # type: ignore[arg-type]
                octets += len(replies[-1])
        if self.is_open:
            self._send(b"".join(replies))
        server.tally.answered(time.perf_counter() - since, before - len(self._queries), len(replies))

    def _begin(self, query: bytes) -> bool:
        """Begin a transfer, if it is one that is asked for; its messages follow as the client takes them."""
        if self._transfer is None:
            self._transfer = self._server.transfer(query)
            return self._transfer is not None
        return False

    def _next_message(self) -> bytes:
        assert self._transfer is not None
        try:
            message = next(self._transfer, None)
        except ZoneChanged:
            self.close()  # what was sent is of no use; the client comes again
            return b""
        if message is None:
            self._transfer = None
        return framed(message) if message is not None else b""

    def _send(self, data: bytes) -> None:
        if self._transfer is not None and not self._unsent and not data:
            data = self._next_message()
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
        full, more = self._full(len(self._unsent)), self._unsent or self._transfer is not None
        if self._ending and not (self._waiting or self._queries or more):
            self.close()
            return
        if self._queries:
            events = WRITE if more or not full else 0
        else:
            events = (0 if self._ending or full else READ) | (WRITE if more else 0)
        if events != self._events:
            self._events = events
            self._server.loop.change(self._fd, events)
