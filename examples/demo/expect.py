"""What must come of a connection, and the judge of what came of it. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.lab import Answer, Outcome

if TYPE_CHECKING:
    from tests.lab import Family
    from tests.lab.probe import Protocol

Source = Literal["kept", "masqueraded"]
Way = Literal["ClusterIP", "NodePort", "LoadBalancer", "externalIP", "pod IP"]

#: A sticky client that always meets the same pod could be chance if there were only a few clients.
STICKY_CLIENTS = 13


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of the connections of one line.

    ANSWERED: by every one of `who` and nobody else, on `port`, with the source address `source`; `sticky`: each client
    address always by the same one. Any other outcome stands for itself.
    """

    outcome: Outcome
    who: tuple[str, ...] = ()
    port: int = 0
    source: Source = "kept"
    sticky: bool = False

    @property
    def answered(self) -> bool:
        """Whether there is to be an answer at all."""
        return self.outcome is Outcome.ANSWERED


def by(who: str, port: int, source: Source = "kept", *, sticky: bool = False) -> Expected:
    """Answered by these pods (names with blanks between them)."""
    return Expected(Outcome.ANSWERED, tuple(who.split()), port, source, sticky)


REFUSED = Expected(Outcome.REFUSED)
DROPPED = Expected(Outcome.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: host `source` connects to `address`:`port`, and `expected` must come of it."""

    source: str
    way: Way
    address: str
    port: int
    expected: Expected
    protocol: Protocol = "tcp"
    note: str = ""

    @property
    def family(self) -> Family:
        """The address family of the destination."""
        return "ipv6" if ":" in self.address else "ipv4"

    @property
    def destination(self) -> str:
        """Address and port as a URL has them, and the protocol where it is not TCP."""
        host = f"[{self.address}]" if self.family == "ipv6" else self.address
        return f"{host}:{self.port}" + ("" if self.protocol == "tcp" else f"/{self.protocol}")


@dataclass(slots=True)
class Tally:
    """The connections of one line so far. `masquerade` is the node's address, which a masqueraded source becomes."""

    line: Line
    masquerade: str
    connections: int = 0
    complete: bool = False
    shares: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    sources: set[str] = field(default_factory=set)
    wrong: Counter[str] = field(default_factory=Counter)
    _pinned: dict[str, str] = field(default_factory=dict)

    def add(self, own: str, answer: Answer) -> None:
        """Count what came of one connection that was made from the address `own`."""
        self.connections += 1
        self.outcomes[answer.outcome] += 1
        if answer.who:
            self.shares[answer.who] += 1
            names = {own: "kept", self.masquerade: "masqueraded"}
            self.sources.add(names.get(answer.seen, answer.seen))
        fault = self._fault(own, answer)
        if fault:
            self.wrong[fault] += 1

    @property
    def problems(self) -> list[str]:
        """What is not as expected, a sentence each; what is missing is judged once the line is complete."""
        found = [f"{text} ({number} times)" if number > 1 else text for text, number in sorted(self.wrong.items())]
        if not self.complete:
            return found
        if not self.connections:
            found.append("no connection was made")
        elif self.line.expected.sticky:
            if len(self.shares) < 2:
                found.append("all clients met the same pod")
        else:
            found += [f"{who} never answered" for who in self.line.expected.who if who not in self.shares]
        return found

    @property
    def as_expected(self) -> bool:
        """Whether nothing is wrong so far."""
        return not self.problems

    def _fault(self, own: str, answer: Answer) -> str:
        expected = self.line.expected
        if answer.outcome is not expected.outcome:
            return f"{answer.outcome.value} by {answer.who}" if answer.who else f"{answer.outcome.value}"
        if not expected.answered:
            return ""
        if answer.who not in expected.who:
            return f"{answer.who} answered and must not"
        if answer.at_port != expected.port:
            return f"{answer.who} was reached on port {answer.at_port} instead of {expected.port}"
        wanted = {"kept": own, "masqueraded": self.masquerade}[expected.source]
        if answer.seen != wanted:
            return f"{answer.who} saw the source {answer.seen} instead of {wanted}"
        if expected.sticky and self._pinned.setdefault(own, answer.who) != answer.who:
            return f"a client left {self._pinned[own]} for {answer.who}"
        return ""


def connections_for(expected: Expected) -> int:
    """How many connections a line needs (sticky: for each client).

    12, and 12 for each pod that must be seen: one of three is missed once in a hundred million runs.
    """
    if expected.sticky:
        return 5
    if expected.answered:
        return 12 + 12 * len(expected.who)
    return 2 if expected.outcome is Outcome.TIMEOUT else 6
