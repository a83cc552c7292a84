"""The process that answers: `python -m kproxy.dns.server.worker FD`, where FD is its end of the feeder's socket.

It has no watch and decodes no lists, so nothing keeps it from answering. It ends when the feeder does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from kproxy import memory
from kproxy.dns.cache import OutsideCache
from kproxy.dns.exchange import Upstream
from kproxy.dns.feed import (
    MAX_FDS,
    Changes,
    Counts,
    Drain,
    FrameReader,
    Listen,
    Listening,
    LoopFound,
    Mark,
    Message,
    Reached,
    Setup,
    ToWorker,
    Upstreams,
    decode_changes,
    encode,
)
from kproxy.dns.names import relative
from kproxy.dns.resolver import Resolver
from kproxy.dns.responder import Responder
from kproxy.dns.server.connections import Connections
from kproxy.dns.server.loop import READ, WRITE, Loop
from kproxy.dns.server.outside import Outside
from kproxy.dns.server.tcp import TcpServer
from kproxy.dns.server.udp import UdpServer
from kproxy.dns.tally import Tally
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from kproxy.logs import set_up_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("kproxy.dns.server.worker")  # its __name__ is __main__

REPORT_S: Final = 1.0
BRIEFLY_S: Final = 1.0
"""How long an answer from the cache is given as it is: TTLs are whole seconds."""
TIDY_S: Final = 60.0
DRAIN_S: Final = 5.0
PR_SET_PDEATHSIG: Final = 1


class Worker:
    """One worker, around its loop."""

    def __init__(self, feed: socket.socket) -> None:
        self._feed = feed
        self._feed_fd = feed.fileno()
        self._frames = FrameReader(ToWorker)
        self._unsent = b""
        self._fds: list[int] = []
        self._loop = Loop()
        self._connections = Connections(self._loop)
        self._servers: list[UdpServer | TcpServer] = []
        self._counted: list[tuple[Responder, Tally]] = []
        self._silent: set[Upstream] = set()
        feed.setblocking(False)
        self._loop.watch(self._feed_fd, self._feed_ready)
        self._loop.every(REPORT_S, self._report)
        self._loop.every(BRIEFLY_S, self._forget_brief)
        # Python would look for garbage whenever a list comes in, through all of it and again and again.
        gc.disable()
        self._loop.every(TIDY_S, _tidy)

    def run(self) -> None:
        """Answer until the feeder ends, or says so."""
        self._loop.run()

    def _feed_ready(self, events: int) -> None:
        if events & WRITE:
            self._tell(None)
        if not events & ~WRITE:
            return
        try:
            data, fds, _, _ = socket.recv_fds(self._feed, 64 * 1024, MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.stop()  # nobody says what is true any more
            return
        self._fds += fds
        for message in self._frames.feed(data):
            self._take(message)

    def _take(self, message: object) -> None:
        match message:
            case Setup():
                self._set_up(message)
            case Listen(sockets):
                for listening in sockets:
                    self._listen(listening, self._fds.pop(0))
            case Changes():
                self._zone.apply(decode_changes(message), serial=message.serial)
            case Mark(number, synced):
                if synced and not self._zone.synced:
                    self._zone.synced = True
                    _tidy()
                    memory.give_back()
                self._tell(Reached(number))
            case Upstreams(upstreams):
                self._resolver.use(_upstreams(upstreams))
            case Drain():
                self._drain()

    def _set_up(self, setup: Setup) -> None:
        set_up_logging(setup.verbosity, setup.logging_format)
        self._recursion = setup.recursion
        self._transfer_to = [ip_network(text) for text in setup.transfer_to]
        self._zone = Zone(ZoneConfig(**{name: _tuple(value) for name, value in setup.zone.items()}))  # type: ignore[arg-type]
        self._cache = OutsideCache()
        self._resolver = Resolver(_upstreams(setup.upstreams), self._cache, lambda: int.from_bytes(os.urandom(2)))
        self._outside = Outside(self._loop, self._resolver)

    def _listen(self, listening: Listening, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        tcp = listening.protocol == "tcp"
        responder = Responder(self._zone, tcp=tcp, recursion=self._recursion)
        tally = Tally(listening, 1 if sock.family == socket.AF_INET else 2)
        server: UdpServer | TcpServer
        if tcp:
            server = TcpServer(sock, responder, self._outside, tally, self._loop, self._connections, self._transfer_to)
        else:
            server = UdpServer(sock, responder, self._outside, tally)
        self._loop.watch(sock.fileno(), server.readable)
        self._servers.append(server)
        self._counted.append((responder, tally))
        if len(self._servers) == 1 and self._recursion:
            self._probe()

    def _probe(self) -> None:
        """Find out whether the upstreams lead back to us."""
        self._resolver.probe(
            relative(os.urandom(8).hex().encode(), os.urandom(8).hex().encode()) + b"\0", self._loop.now
        )
        self._outside.carry_out()

    def _drain(self) -> None:
        for server in self._servers:
            self._loop.forget(server.sock.fileno())
            with contextlib.suppress(OSError):
                server.drain()
        self._connections.finish()
        deadline = self._loop.now + DRAIN_S

        def look() -> None:
            if (self._resolver.idle and not len(self._connections)) or self._loop.now > deadline:
                self._report()
                self._loop.stop()
            else:
                self._loop.after(0.02, look)

        look()

    def _forget_brief(self) -> None:
        for responder, _ in self._counted:
            responder.forget_brief()

    def _report(self) -> None:
        replies = [one for responder, tally in self._counted for one in tally.take_replies(responder.take_counts())]
        counts = Counts(
            replies=replies,
            samples=[*[tally.take_durations() for _, tally in self._counted], *self._outside.take_durations()],
            totals={
                "cache_hits_success": self._cache.hits[True],
                "cache_hits_denial": self._cache.hits[False],
                "cache_misses": self._cache.misses,
                "cache_evictions": self._cache.evictions,
                "cache_served_stale": self._cache.stale,
                "cache_prefetch": self._resolver.refreshed,
                "forward_rejects": self._resolver.rejected,
                "lost_replies": sum(tally.lost for _, tally in self._counted),
            },
            levels={"cache_entries": len(self._cache), "tcp_connections": len(self._connections)},
        )
        self._tell(counts)
        self._say_who_is_silent()
        if self._resolver.loop:
            self._resolver.loop = False
            self._tell(LoopFound())

    def _say_who_is_silent(self) -> None:
        silent = self._resolver.silent()
        for upstream in silent - self._silent:
            log.warning("%s does not answer for names outside the cluster", upstream)
        for upstream in self._silent - silent:
            log.info("%s answers again, or is not asked any more", upstream)
        self._silent = silent

    def _tell(self, message: Message | None) -> None:
        """Send a message to the feeder, or what is left of earlier ones."""
        if message is not None:
            self._unsent += encode(message)
        try:
            self._unsent = self._unsent[self._feed.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""
        self._loop.change(self._feed_fd, READ | (WRITE if self._unsent else 0))


def _tidy() -> None:
    """Collect what garbage there is among what is new; what remains stays, and is not looked at again."""
    gc.collect()
    gc.freeze()


def _upstreams(pairs: Sequence[tuple[str, int]]) -> list[Upstream]:
    return [Upstream(*pair) for pair in pairs]


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def main(arguments: list[str]) -> None:
    """Work for the feeder at the other end of a descriptor."""
    # A Ctrl-C in the terminal is for the feeder, which ends us when it is time.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):  # it may be forbidden, and then less must do
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # One that hangs does not notice that its feeder has ended, and would keep a share of the queries.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    Worker(socket.socket(fileno=int(arguments[0]))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
