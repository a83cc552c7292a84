"""The sockets to the servers outside: carries out what the resolver orders. A socket (and port) for each attempt."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Protocol

from kproxy.dns.kept import Kind
from kproxy.dns.responder import CACHE
from kproxy.dns.server.loop import READ, WRITE
from kproxy.dns.stream import MessageStream, Unframed, framed
from kproxy.dns.tally import Buckets

if TYPE_CHECKING:
    from kproxy.dns.exchange import Attempt, Order, Upstream
    from kproxy.dns.feed import Sample
    from kproxy.dns.forward import Forward
    from kproxy.dns.resolver import Resolver
    from kproxy.dns.server.loop import Loop, Timer
    from kproxy.dns.tally import Tally

RECEIVE = 65535
FORWARD = "forward"
"""Who answered, as the metrics have it."""


class Server(Protocol):
    """To whom a late answer is given."""

    def send_late(self, peer: bytes, reply: bytes) -> None:
        """Send it to the client that `peer` stands for."""


class _Waiter:
    """A client that waits."""

    __slots__ = ("peer", "qtype", "query_size", "server", "since", "tally")

    def __init__(self, server: Server, peer: bytes, qtype: int, query_size: int, tally: Tally) -> None:
        self.server = server
        self.peer = peer
        self.qtype = qtype
        self.query_size = query_size
        self.tally = tally
        self.since = time.perf_counter()


class Outside:
    """The resolver with its sockets and timers."""

    def __init__(self, loop: Loop, resolver: Resolver) -> None:
        self.resolver = resolver
        self._loop = loop
        self._sockets: dict[int, socket.socket] = {}
        self._timer: Timer | None = None
        self._durations: dict[tuple[str, int], Buckets] = {}

    def ask(
        self, forward: Forward, query_size: int, client: tuple[Server, bytes], address: str, tally: Tally
    ) -> bytes | None:
        """Return the reply if it is known; otherwise the client gets it when it is, by `send_late`."""
        waiter = _Waiter(*client, forward.query.qtype, query_size, tally)
        reply = self.resolver.ask(forward, waiter, address, self._loop.now)
        if reply is not None:
            tally.outside(_kind(forward.query.qtype, query_size, reply, CACHE))
        self.carry_out()
        return reply

    def carry_out(self) -> None:
        """Do what the resolver says, and wake up when it wants to know the time."""
        while orders := self.resolver.take_orders():
            for order in orders:
                if order.attempt is None:
                    self._deliver(order)
                elif order.close:
                    self._close(order.attempt.number)
                else:
                    self._send(order.attempt)
        for asked in self.resolver.take_asked():
            self._durations.setdefault((str(asked.upstream), asked.rcode), Buckets()).add(asked.seconds)
        self._wake()

    def take_durations(self) -> list[Sample]:
        """Return how long the servers took since the last call."""
        durations, self._durations = self._durations, {}
        return [one.sample("forward", to, str(rcode)) for (to, rcode), one in durations.items()]

    def _deliver(self, order: Order) -> None:
        waiter, reply = order.waiter, order.reply
        assert isinstance(waiter, _Waiter)
        waiter.server.send_late(waiter.peer, reply)
        waiter.tally.late(time.perf_counter() - waiter.since)
        waiter.tally.outside(_kind(waiter.qtype, waiter.query_size, reply, FORWARD))

    def _send(self, attempt: Attempt) -> None:
        family = socket.AF_INET6 if ":" in attempt.upstream.address else socket.AF_INET
        kind = socket.SOCK_STREAM if attempt.tcp else socket.SOCK_DGRAM
        try:
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        except OSError:
            self._broke(attempt)
            return
        self._sockets[attempt.number] = sock
        try:
            sock.connect(place(attempt.upstream))
        except BlockingIOError:
            pass  # TCP
        except OSError:
            self._broke(attempt)
            return
        if attempt.tcp:
            self._loop.watch(sock.fileno(), _TcpAttempt(self, attempt, sock).ready, WRITE)
            return
        try:
            sock.send(attempt.message)
        except OSError:
            self._broke(attempt)
            return
        self._loop.watch(sock.fileno(), lambda _events: self._datagram(attempt, sock))

    def _datagram(self, attempt: Attempt, sock: socket.socket) -> None:
        try:
            message = sock.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            self.broke(attempt)
            return
        self.received(attempt, message)

    def received(self, attempt: Attempt, message: bytes) -> None:
        """Pass a message on to the resolver."""
        self.resolver.received(attempt.number, message, self._loop.now)
        self.carry_out()

    def broke(self, attempt: Attempt) -> None:
        """Tell the resolver that nothing comes of an attempt."""
        self._broke(attempt)
        self.carry_out()

    def watch_for(self, sock: socket.socket, events: int) -> None:
        """Wait for something else on an attempt's socket."""
        self._loop.change(sock.fileno(), events)

    def _broke(self, attempt: Attempt) -> None:
        self.resolver.broke(attempt.number, self._loop.now)

    def _close(self, number: int) -> None:
        sock = self._sockets.pop(number, None)
        if sock is not None:
            self._loop.forget(sock.fileno())
            sock.close()

    def _wake(self) -> None:
        when = self.resolver.next_time()
        if self._timer is not None:
            if self._timer.call is not None and when is not None and self._timer.when <= when:
                return
            self._timer.cancel()
        self._timer = None if when is None else self._loop.after(when - self._loop.now, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.resolver.tick(self._loop.now)
        self.carry_out()


class _TcpAttempt:
    """A question over TCP: connect, send, read one message."""

    def __init__(self, outside: Outside, attempt: Attempt, sock: socket.socket) -> None:
        self._outside = outside
        self._attempt = attempt
        self._sock = sock
        self._unsent = framed(attempt.message)
        self._stream = MessageStream()

    def ready(self, events: int) -> None:
        """Go on."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
                if not self._unsent:
                    self._outside.watch_for(self._sock, READ)
                return
            data = self._sock.recv(RECEIVE)
            messages = self._stream.feed(data)
        except BlockingIOError:
            return
        except (OSError, Unframed):
            self._outside.broke(self._attempt)
            return
        if messages:
            self._outside.received(self._attempt, messages[0])
        elif not data:
            self._outside.broke(self._attempt)


def place(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return where a server is, as sockets want it. Raises OSError for an interface that is not there."""
    address, _, interface = upstream.address.partition("%")
    if not interface:
        return upstream.address, upstream.port
    return address, upstream.port, 0, int(interface) if interface.isdigit() else socket.if_nametoindex(interface)


def _kind(qtype: int, query_size: int, reply: bytes, source: str) -> Kind:
    return Kind(qtype, reply[3] & 15, query_size, len(reply), False, source)
