"""A steady stream of queries from many ports, and which of them got no answer."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING

import dns.message

from tests.lab.agent import eventually

if TYPE_CHECKING:
    from tests.lab import Namespace

PATIENCE_S = 3.0


class Load:
    """Asks for one name from the beginning of the block to its end.

    `answered` counts replies by rcode; `lost` are the times (since the start, in seconds) of queries without one;
    `slowest_s` is the longest that one took.
    """

    def __init__(self, namespace: Namespace, address: str, name: str, *, rate: int = 2000, sockets: int = 200) -> None:
        self.answered: dict[int, int] = {}
        self.lost: list[float] = []
        self.slowest_s = 0.0
        self._interval_s = 1 / rate
        self._query = dns.message.make_query(name, "A").to_wire()[2:]
        self._sockets = [namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
        for sock in self._sockets:
            sock.connect((address, 53))
            sock.setblocking(False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def goes_on(self, queries: int = 500) -> None:
        """Wait until so many more queries were answered."""
        wanted = self.total + queries
        eventually(lambda: self.total >= wanted, f"{queries} more queries are answered")

    @property
    def total(self) -> int:
        return sum(self.answered.values())

    def _run(self) -> None:
        waiting: dict[tuple[int, int], float] = {}
        start = due = time.monotonic()
        number, ended = 0, 0.0
        with selectors.DefaultSelector() as selector:
            for index, sock in enumerate(self._sockets):
                selector.register(sock, selectors.EVENT_READ, index)
            while not ended or (waiting and time.monotonic() < ended + PATIENCE_S):
                now = time.monotonic()
                if self._stop.is_set() and not ended:
                    ended = now
                while not ended and due <= now:
                    index, id_ = number % len(self._sockets), number & 0xFFFF
                    self._sockets[index].send(id_.to_bytes(2) + self._query)
                    waiting[index, id_] = now
                    number += 1
                    due += self._interval_s
                for key, _ in selector.select(0.001):
                    self._receive(key.data, waiting)
        self.lost = sorted(at - start for at in waiting.values())

    def _receive(self, index: int, waiting: dict[tuple[int, int], float]) -> None:
        try:
            reply = self._sockets[index].recv(2048)
        except (BlockingIOError, ConnectionRefusedError):
            return
        sent = waiting.pop((index, int.from_bytes(reply[:2])), None)
        if sent is not None:
            self.answered[reply[3] & 15] = self.answered.get(reply[3] & 15, 0) + 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - sent)
