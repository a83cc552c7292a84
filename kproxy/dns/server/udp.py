"""Answers what comes in by one UDP socket, as many datagrams at a time as are there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kproxy.dns.forward import Forward
from kproxy.dns.server.batch import DatagramBatch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from kproxy.dns.responder import Responder
    from kproxy.dns.server.outside import Outside
    from kproxy.dns.tally import Tally


_BYTES = frozenset({bytes})


class UdpServer:
    """One socket and its answers."""

    def __init__(self, sock: socket.socket, responder: Responder, outside: Outside, tally: Tally) -> None:
        self.sock = sock
        self._batch = DatagramBatch(sock)
        self._responder = responder
        self._outside = outside
        self._tally = tally
        self._clock: Callable[[], float] = time.perf_counter

    def readable(self, _events: int) -> None:
        """Answer what has come; what is left then makes the socket readable again."""
        queries = self._batch.receive()
        if not queries:
            return
        since = self._clock()
        replies = self._responder.answer_all(queries)
        slots = None
        if not _BYTES.issuperset(map(type, replies)):
            slots = self._others(queries, replies)
            replies = [replies[slot] for slot in slots]
        if replies:
            sent = self._batch.send(replies, slots)  # type: ignore[arg-type]
            self._tally.lost += len(replies) - sent
        self._tally.answered(self._clock() - since, len(queries), len(replies))

    def drain(self) -> None:
        """Take no more queries, and answer those that wait.

        The kernel gives a connected socket's share of the port to the others that are bound to it (SO_REUSEPORT), and
        leaves it what it has got. Closing it at once would lose that.
        """
        self.sock.connect(("::1" if ":" in self.sock.getsockname()[0] else "127.0.0.1", 9))
        for _ in range(1000):
            before = self._tally.taken
            self.readable(0)
            if self._tally.taken == before:
                return

    def _others(self, queries: list[bytes], replies: list[bytes | Forward | None]) -> list[int]:
        """Ask outside what is not ours, and return the slots that have an answer now."""
        for slot, reply in enumerate(replies):
            if type(reply) is Forward:
                peer = self._batch.peer(slot)
                client = self._batch.peer_address(peer)
                known = self._outside.ask(reply, len(queries[slot]), (self, peer), client, self._tally)
                if known is not None:
                    self._responder.keep_briefly(reply, known)
                replies[slot] = known
        return [slot for slot, reply in enumerate(replies) if reply is not None]

    def send_late(self, peer: bytes, reply: bytes) -> None:
        """Send an answer that had to be asked for."""
        self._tally.lost += 1 - self._batch.send_to(peer, reply)
