"""What the resolver is made of: a question on its way to other servers, and which of them fail lately. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.dns.forward import Forward
    from kproxy.dns.upstream import Question, Response

SILENT_AFTER: Final = 3
"""Failures in a row after which a server counts as silent."""
DOWN_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""For how long a server that failed comes after the others, the more failures in a row the longer."""


@dataclass(frozen=True, slots=True)
class ResolverLimits:
    """Bounds. Times in seconds; a client's own time-out is 5 s by custom, so the last word comes before."""

    exchanges: int = 1000
    per_client: int = 200
    deadline_s: float = 4.5
    stale_after_s: float = 1.8
    again_s: tuple[float, ...] = (0.5, 1.0, 2.0)
    attempts_each: int = 2


class Upstream(NamedTuple):
    """A server to ask: IP address and port."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Attempt(NamedTuple):
    """One message to one server, with an EDNS or without. `number` is unique."""

    number: int
    upstream: Upstream
    tcp: bool
    id: bytes
    message: bytes
    since: float
    edns: bool


class Order(NamedTuple):
    """What the shell is to do: send an attempt (`close` False), or close its socket; or `reply` to a client."""

    attempt: Attempt | None = None
    close: bool = False
    waiter: object = None
    reply: bytes = b""


class Asked(NamedTuple):
    """An attempt that was answered, for the metrics."""

    upstream: Upstream
    rcode: int
    seconds: float


@dataclass(slots=True)
class Waiting:
    """A client that waits: how its reply is made, what the shell knows it by, and its IP address."""

    forward: Forward
    waiter: object
    client: str


@dataclass(slots=True, eq=False)
class Exchange:
    """One question, all who wait for its answer, and what was tried so far. Times as the resolver is told them.

    `open` are the attempts without an answer; `best` is an answer that is none (SERVFAIL, say), for want of a better
    one; `refused`: some server could not be reached.
    """

    question: Question
    deadline: float
    order: Sequence[Upstream]
    stale_at: float
    waiting: list[Waiting] = field(default_factory=list)
    open: dict[int, Attempt] = field(default_factory=dict)
    tries: int = 0
    best: Response | None = None
    refused: bool = False
    over: bool = False


@dataclass(slots=True)
class _Condition:
    failures: int = 0
    down_until: float = float("-inf")


class Conditions:
    """The servers to ask, and how each has done lately."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = tuple(upstreams)
        self._conditions = {upstream: _Condition() for upstream in upstreams}

    def in_order(self, now: float) -> Sequence[Upstream]:
        """Return them as they were given, but those that failed a moment ago after the others."""
        return sorted(self.upstreams, key=lambda upstream: self._conditions[upstream].down_until > now)

    def answered(self, upstream: Upstream) -> None:
        """Note an answer, also a bad one."""
        if condition := self._conditions.get(upstream):
            condition.failures = 0

    def failed(self, upstream: Upstream, now: float) -> None:
        """Note that none came. Failures at the same time, of many questions, count as one."""
        condition = self._conditions.get(upstream)
        if condition is not None and now >= condition.down_until:
            condition.down_until = now + DOWN_S[min(condition.failures, len(DOWN_S) - 1)]
            condition.failures += 1

    def silent(self) -> set[Upstream]:
        """Return those that failed again and again, with no answer in between."""
        return {upstream for upstream, one in self._conditions.items() if one.failures >= SILENT_AFTER}
