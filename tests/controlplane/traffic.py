"""Traffic that runs on while something else goes wrong: connections that are held, and new ones all the time."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.lab import Outcome, Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab import Answer, Cluster, Held

#: Between two rounds of questions.
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Way:
    """From a host to an address and port."""

    source: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} -> {self.address} port {self.port}"


class Traffic:
    """Use as a context manager: inside, each way has one TCP connection that is held and asked again and again, and a
    new connection about every 20 ms.

    `errors` counts what was not an answer of one of `servers`, as text; `connections` and `answers` count the rest.
    """

    def __init__(self, cluster: Cluster, ways: Sequence[Way], servers: set[str]) -> None:
        self._cluster = cluster
        self._ways = tuple(ways)
        self._servers = servers
        self.errors: Counter[str] = Counter()
        self.connections = self.answers = 0
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"traffic-{work.__name__}", daemon=True)
            for work in (self._ask_again, self._connect_anew)
        ]

    def __enter__(self) -> Self:
        self._held: list[tuple[Way, Held]] = []
        for way in self._ways:
            held = self._cluster.hold(way.source, way.address, way.port)
            self._held.append((way, held))
            self._judge("first", way, held.opened)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for _, held in self._held:
            held.close()

    def check(self, *, held: bool = True) -> None:
        """AssertionError when anything went wrong up to now, or nothing happened at all; not if `held` ones broke."""
        errors = {text: number for text, number in self.errors.items() if held or not text.startswith("held")}
        assert not errors, "\n".join(f"{number} x {text}" for text, number in errors.items())
        assert self.connections, "no connection was made"
        assert self.answers, "no held connection was asked"

    def _ask_again(self) -> None:
        while not self._ended.wait(PAUSE_S):
            for way, held in self._held:
                self.answers += self._judge("held", way, held.ask())

    def _connect_anew(self) -> None:
        probes = [Probe(way.source, way.address, way.port) for way in self._ways]
        # When the lab has gone meanwhile, the test has failed for another reason.
        with contextlib.suppress(RuntimeError):
            while not self._ended.wait(PAUSE_S):
                for way, report in zip(self._ways, self._cluster.probe_all(probes), strict=True):
                    self.connections += sum(self._judge("new", way, answer) for answer in report.answers)

    def _judge(self, what: str, way: Way, answer: Answer) -> bool:
        good = answer.outcome is Outcome.ANSWERED and answer.who in self._servers
        if not good:
            self.errors[f"{what} {way}: {answer}"] += 1
        return good
