"""What became of a flow, so that the same flow under two programs can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab import Answer, Outcome, Report
    from tests.lab.probe import Protocol


@dataclass(frozen=True, slots=True)
class Seen:
    """All that happened to the connections of one probe: outcomes; of those answered by whom, from where, to where.

    How often each happened is left to chance, so it does not count.
    """

    protocol: Protocol
    address: str
    port: int
    outcomes: frozenset[Outcome]
    #: (who answered, the source address it saw, the address and port it was reached on)
    answers: frozenset[tuple[str, str, str, int]]

    @classmethod
    def of(cls, report: Report) -> Seen:
        probe = report.probe
        answers = frozenset(_answer(one) for one in report.answers if one.who)
        return cls(probe.protocol, probe.address, probe.port, frozenset(report.outcomes), answers)

    def __str__(self) -> str:
        told = [outcome.value for outcome in self.outcomes]
        told += [f"{who} at {at} port {port} saw {seen}" for who, seen, at, port in self.answers]
        return f"{self.protocol} to {self.address} port {self.port}: {', '.join(sorted(told))}"


def _answer(answer: Answer) -> tuple[str, str, str, int]:
    return answer.who, answer.seen, answer.at, answer.at_port
