"""Which reports count as the same outcome."""

from __future__ import annotations

import pytest

from tests.flows.seen import Seen
from tests.lab import Answer, Outcome, Probe, Report

PROBE = Probe("pa", "10.96.0.1", 80)
A1 = Answer(Outcome.ANSWERED, "a1", "10.244.1.13", 40000, "10.244.1.11", 8080)
B1 = Answer(Outcome.ANSWERED, "b1", "10.244.1.13", 40001, "10.244.2.11", 8080)
MASQUERADED = Answer(Outcome.ANSWERED, "b1", "172.18.0.1", 40001, "10.244.2.11", 8080)
ELSEWHERE = Answer(Outcome.ANSWERED, "b1", "10.244.1.13", 40001, "10.244.2.11", 80)
REFUSED, DROPPED = Answer(Outcome.REFUSED), Answer(Outcome.TIMEOUT)


def seen(*answers: Answer) -> Seen:
    return Seen.of(Report(PROBE, answers))


def test_shares_and_client_ports_do_not_count() -> None:
    other_port = Answer(Outcome.ANSWERED, "a1", "10.244.1.13", 40002, "10.244.1.11", 8080)
    assert seen(A1, B1, B1) == seen(B1, other_port, A1)


@pytest.mark.parametrize("other", [(A1,), (A1, MASQUERADED), (A1, ELSEWHERE), (A1, B1, DROPPED), (REFUSED,), ()])
def test_everything_else_does(other: tuple[Answer, ...]) -> None:
    assert seen(*other) != seen(A1, B1)


def test_refused_is_not_dropped() -> None:
    assert seen(REFUSED) != seen(DROPPED)


def test_it_reads_as_a_sentence() -> None:
    assert str(seen(B1)) == "tcp to 10.96.0.1 port 80: answered, b1 at 10.244.2.11 port 8080 saw 10.244.1.13"
