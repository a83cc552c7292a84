"""What the reference says becomes of a flow, and the comparison of that with what was seen."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.cluster import POD_PORT
from tests.lab.probe import Outcome

if TYPE_CHECKING:
    from tests.lab import Report


class Source(enum.Enum):
    """Which source address the server must see. A pod that reaches itself is masqueraded in every case (hairpin)."""

    KEPT = "source kept"
    MASQUERADED = "source is node A's address"
    ANY = "source not looked at"


class Kind(enum.Enum):
    ENDPOINTS = "answered by exactly"
    #: Not handled by the proxy, and nothing local has that address: the packet leaves as it is, and the world answers.
    PASSED = "not handled, leaves as it is"
    #: Not handled by the proxy: a process on the host that has the address answers.
    LOCAL = "not handled, answered by"
    REFUSED = "refused at once"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Expectation:
    kind: Kind
    who: tuple[str, ...] = ()
    source: Source = Source.KEPT
    #: Every endpoint must get its equal share of the connections.
    even: bool = False

    @property
    def answered(self) -> bool:
        return self.kind in (Kind.ENDPOINTS, Kind.PASSED, Kind.LOCAL)

    def __str__(self) -> str:
        if not self.answered:
            return self.kind.value
        parts = [f"{self.kind.value} {', '.join(self.who)}" if self.who else self.kind.value, self.source.value]
        return "; ".join([*parts, "equal shares"] if self.even else parts)


def answered(who: str, source: Source = Source.KEPT, *, even: bool = False) -> Expectation:
    """All of these endpoints answer, and nobody else."""
    return Expectation(Kind.ENDPOINTS, tuple(who.split()), source, even)


def local(who: str) -> Expectation:
    """The host of that name answers, on the address that was asked for."""
    return Expectation(Kind.LOCAL, (who,))


KEPT, MASQUERADED, ANY = Source.KEPT, Source.MASQUERADED, Source.ANY
PASSED = Expectation(Kind.PASSED, ("world",))
#: An improvement over the reference, whose ICMPv6 reject costs a TCP client 1.1 s (a SYN repeated): a reset is
#: immediate in both families. Probes of refused flows wait 0.9 s, so what is not refused at once fails.
REFUSED = Expectation(Kind.REFUSED)
DROPPED = Expectation(Kind.DROPPED)


@dataclass(frozen=True, slots=True)
class Addresses:
    """What judging a report needs to know: who asked, from where, and node A's address towards endpoints."""

    source_host: str
    source: str
    node: str


def differences(report: Report, expected: Expectation, addresses: Addresses) -> list[str]:
    """Everything about a report that is not as expected, as sentences; empty when all is well."""
    wanted = {
        Kind.REFUSED: {Outcome.REFUSED},
        Kind.DROPPED: {Outcome.TIMEOUT},
    }.get(expected.kind, {Outcome.ANSWERED})
    found = [f"a connection was {outcome.value}" for outcome in report.outcomes - wanted]
    if not expected.answered:
        return found
    found += [f"{who} never answered" for who in sorted(set(expected.who) - report.who)]
    found += [f"{who} answered, and must not" for who in sorted(report.who - set(expected.who))]
    for who in sorted(report.who & set(expected.who)):
        found += _wrong_source(report.seen_by(who), who, expected, addresses)
    found += _wrong_destination(report, expected)
    if expected.even:
        found += _uneven(report)
    return found


def _wrong_source(seen: set[str], who: str, expected: Expectation, addresses: Addresses) -> list[str]:
    if expected.source is Source.ANY:
        return []
    hairpin = expected.kind is Kind.ENDPOINTS and who == addresses.source_host
    masqueraded = expected.source is Source.MASQUERADED or hairpin
    wanted = addresses.node if masqueraded else addresses.source
    return [f"{who} saw the source {address} instead of {wanted}" for address in sorted(seen - {wanted})]


def _wrong_destination(report: Report, expected: Expectation) -> list[str]:
    """Endpoints are reached on the port their slice gives; what is not handled keeps its destination."""
    as_sent = {report.probe.port} if expected.kind is not Kind.ENDPOINTS else {POD_PORT}
    ports = {answer.at_port for answer in report.answers if answer.who in expected.who} - as_sent
    found = [f"reached on port {port}" for port in ports]
    if expected.kind is not Kind.ENDPOINTS:
        changed = {answer.at for answer in report.answers if answer.who in expected.who} - {report.probe.address}
        found += [f"the destination became {address}" for address in sorted(changed)]
    return found


def _uneven(report: Report) -> list[str]:
    """Shares that equal probability gives once in hundreds of millions of runs: six standard deviations off."""
    share = report.share()
    total, chance = sum(share.values()), 1 / max(len(share), 1)
    allowed = 6 * (total * chance * (1 - chance)) ** 0.5
    return [f"{who} got {n} of {total} connections" for who, n in share.items() if abs(n - total * chance) > allowed]
