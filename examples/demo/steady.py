"""Connections one after the other without a pause, each with its time, for as long as something changes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab import Probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.lab import Answer, Cluster

#: Between two connections, so that the demo leaves some of the machine to the agent.
BREATH_S = 0.003


@dataclass(frozen=True, slots=True)
class Moment:
    """One connection: when it began and ended (time.monotonic()), and what came of it."""

    began: float
    ended: float
    answer: Answer


class Steady:
    """Connects from a host to an address in a thread of its own. Use as a context manager.

    `moments` grows at its end; a slice of it is safe to take at any time.
    """

    def __init__(self, cluster: Cluster, source: str, address: str, port: int) -> None:
        self._connect: Callable[[], Answer] = lambda: cluster.probe(probe).answers[0]
        probe = Probe(source, address, port, timeout_s=2.0)
        self.moments: list[Moment] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"steady-{source}", daemon=True)

    def __enter__(self) -> Steady:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(BREATH_S):
            began = time.monotonic()
            answer = self._connect()
            self.moments.append(Moment(began, time.monotonic(), answer))
