"""The demo's judge: what it lets pass and what it does not."""

from __future__ import annotations

import pytest

from examples.demo.expect import DROPPED, REFUSED, Expected, Line, Tally, by, connections_for
from tests.lab import Answer, Outcome

POD, NODE = "10.244.1.20", "172.18.0.1"


def answer(who: str, seen: str = POD, port: int = 8080) -> Answer:
    return Answer(Outcome.ANSWERED, who, seen, 40000, "10.244.1.11", port)


def tally(expected: Expected, *answers: Answer, own: str = POD) -> Tally:
    made = Tally(Line("shopper", "ClusterIP", "10.96.0.10", 80, expected), NODE)
    for one in answers:
        made.add(own, one)
    made.complete = True
    return made


@pytest.mark.parametrize(
    ("expected", "answers"),
    [
        (by("a b", 8080), [answer("a"), answer("b"), answer("a")]),
        (by("a", 8080, "masqueraded"), [answer("a", NODE)]),
        (REFUSED, [Answer(Outcome.REFUSED)]),
        (DROPPED, [Answer(Outcome.TIMEOUT)]),
    ],
)
def test_what_is_expected_is_no_problem(expected: Expected, answers: list[Answer]) -> None:
    assert tally(expected, *answers).problems == []


@pytest.mark.parametrize(
    ("expected", "answers", "problem"),
    [
        (by("a b", 8080), [answer("a")], "b never answered"),
        (by("a", 8080), [answer("a"), answer("c")], "c answered and must not"),
        (by("a", 8080), [answer("a", port=8443)], "a was reached on port 8443 instead of 8080"),
        (by("a", 8080), [answer("a", NODE)], f"a saw the source {NODE} instead of {POD}"),
        (by("a", 8080, "masqueraded"), [answer("a")], f"a saw the source {POD} instead of {NODE}"),
        (by("a", 8080), [answer("a"), Answer(Outcome.REFUSED), Answer(Outcome.REFUSED)], "refused (2 times)"),
        (REFUSED, [answer("a")], "answered by a"),
        (REFUSED, [Answer(Outcome.TIMEOUT)], "timed out"),
        (DROPPED, [Answer(Outcome.REFUSED)], "refused"),
        (REFUSED, [], "no connection was made"),
    ],
)
def test_anything_else_is_named(expected: Expected, answers: list[Answer], problem: str) -> None:
    assert tally(expected, *answers).problems == [problem]


def test_what_is_missing_is_not_missed_before_the_end() -> None:
    unfinished = tally(by("a b", 8080), answer("a"))
    unfinished.complete = False
    assert unfinished.as_expected


def test_a_sticky_client_stays_and_others_go_elsewhere() -> None:
    sticky = by("a b c", 8080, sticky=True)
    both = tally(sticky, answer("a"), answer("a"))
    both.add("10.244.1.128", answer("b", "10.244.1.128"))
    assert both.problems == []
    both.add("10.244.1.128", answer("a", "10.244.1.128"))
    assert both.problems == ["a client left b for a"]
    assert tally(sticky, answer("a")).problems == ["all clients met the same pod"]


def test_enough_connections_are_made_to_meet_every_pod() -> None:
    pods = ["a", "b", "c"]
    missed_one = len(pods) * (1 - 1 / len(pods)) ** connections_for(by(" ".join(pods), 8080))
    assert missed_one < 1e-7


def test_destinations_are_written_as_in_a_url() -> None:
    ipv6 = Line("client", "LoadBalancer", "fd00:10:97::70", 53, REFUSED, "udp")
    assert (ipv6.destination, ipv6.family) == ("[fd00:10:97::70]:53/udp", "ipv6")
