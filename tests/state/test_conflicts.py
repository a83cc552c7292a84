"""Two Services that claim the same: the oldest has it, whatever the order of events; the other gets nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.state.conflicts import Claim, ClaimIndex, claims_of, describe
from kproxy.state.service_parser import parse_service
from tests.state.objects import service

if TYPE_CHECKING:
    from kproxy.state.service import ParsedService


def parsed(name: str, *, created: str | None = None, **spec: Any) -> ParsedService:
    return parse_service(service(f"ns1/{name}", created=created, **spec))


def standing(index: ClaimIndex, services: dict[str, ParsedService]) -> dict[str, tuple[Claim, str]]:
    return {key: lost for key in services if (lost := index.lost(key))}


def enter(index: ClaimIndex, key: str, service: ParsedService | None) -> set[str]:
    """Enter one Service and settle; return the *others* whose standing changed."""
    index.enter(key, service)
    return index.settle() - {key}


def settled(services: list[ParsedService]) -> dict[str, tuple[Claim, str]]:
    index = ClaimIndex()
    for one in services:
        enter(index, one.key, one)
    return standing(index, {one.key: one for one in services})


def test_all_that_a_service_claims() -> None:
    one = parsed(
        "a",
        ips=["10.96.0.1", "fd00::1"],
        type="LoadBalancer",
        ports=[{"name": "x", "port": 80, "nodePort": 30080}, {"name": "y", "port": 53, "protocol": "UDP"}],
        externalIPs=["192.0.2.5"],
        ingress=[{"ip": "203.0.113.9"}, {"ip": "203.0.113.8", "ipMode": "Proxy"}],
        externalTrafficPolicy="Local",
        healthCheckNodePort=31000,
    )
    assert set(claims_of(one)) == {
        ("10.96.0.1", "TCP", 80),
        ("192.0.2.5", "TCP", 80),
        ("203.0.113.9", "TCP", 80),
        ("fd00::1", "TCP", 80),
        ("node port", "TCP", 30080),
        ("10.96.0.1", "UDP", 53),
        ("192.0.2.5", "UDP", 53),
        ("203.0.113.9", "UDP", 53),
        ("fd00::1", "UDP", 53),
        ("node port", "TCP", 31000),
    }


def test_claims_in_words() -> None:
    assert describe(("10.96.0.1", "TCP", 80)) == "10.96.0.1 80/TCP"
    assert describe(("node port", "UDP", 30080)) == "node port 30080/UDP"


PAIRS: list[tuple[str, dict[str, Any], dict[str, Any], Claim | None]] = [
    ("same clusterIP and port", {}, {}, ("172.30.0.41", "TCP", 80)),
    ("another port", {}, {"ports": [{"port": 81}]}, None),
    ("another protocol", {}, {"ports": [{"port": 80, "protocol": "UDP"}]}, None),
    (
        "node port",
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        {"type": "NodePort", "clusterIP": "172.30.0.42", "ports": [{"port": 80, "nodePort": 30080}]},
        ("node port", "TCP", 30080),
    ),
    (
        "node port in two families",
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        {"type": "NodePort", "ips": ["fd00::1"], "ports": [{"port": 80, "nodePort": 30080}]},
        ("node port", "TCP", 30080),
    ),
    (
        "node port of another protocol",
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        {"clusterIP": "172.30.0.42", "ports": [{"port": 80, "protocol": "UDP", "nodePort": 30080}]},
        None,
    ),
    (
        "an external IP that is the other's clusterIP",
        {},
        {"clusterIP": "172.30.0.42", "externalIPs": ["172.30.0.41"]},
        ("172.30.0.41", "TCP", 80),
    ),
    (
        "an external IP that is the other's VIP",
        {"ingress": [{"ip": "203.0.113.9"}]},
        {"clusterIP": "172.30.0.42", "externalIPs": ["203.0.113.9"]},
        ("203.0.113.9", "TCP", 80),
    ),
    (
        "a health check port that is the other's node port",
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]},
        {
            "type": "LoadBalancer",
            "clusterIP": "172.30.0.42",
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 31000,
        },
        ("node port", "TCP", 31000),
    ),
    ("headless ones claim nothing", {"clusterIP": "None"}, {"clusterIP": "None"}, None),
    ("one of another proxy claims nothing", {}, {"labels": {"service.kubernetes.io/service-proxy-name": "x"}}, None),
]


@pytest.mark.parametrize(("one", "two", "claim"), [row[1:] for row in PAIRS], ids=[row[0] for row in PAIRS])
def test_pairs(one: dict[str, Any], two: dict[str, Any], claim: Claim | None) -> None:
    a, b = parsed("a", **one), parsed("b", **two)
    expected = {"ns1/b": (claim, "ns1/a")} if claim else {}
    assert settled([a, b]) == expected
    assert settled([b, a]) == expected


@pytest.mark.parametrize(
    ("a", "b", "loser"),
    [
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "ns1/a"),
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "ns1/b"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "ns1/b"),  # then the name
        (None, None, "ns1/b"),
    ],
)
def test_the_oldest_has_it(a: str | None, b: str | None, loser: str) -> None:
    services = [parsed("a", created=a), parsed("b", created=b)]
    assert list(settled(services)) == list(settled(services[::-1])) == [loser]


def chain() -> list[ParsedService]:
    """A and B want one address, B and C a node port; by age A, B, C."""
    np = [{"port": 80, "nodePort": 30080}]
    return [
        parsed("a", created="2026-01-01T00:00:00Z", clusterIP="10.96.0.1"),
        parsed("b", created="2026-01-02T00:00:00Z", clusterIP="10.96.0.1", ports=np),
        parsed("c", created="2026-01-03T00:00:00Z", clusterIP="10.96.0.3", ports=np),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_one_that_lost_stands_in_nobody_s_way(order: tuple[int, ...]) -> None:
    services = chain()
    assert settled([services[n] for n in order]) == {"ns1/b": (("10.96.0.1", "TCP", 80), "ns1/a")}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_when_the_winner_goes_its_claims_go_down_the_chain(order: tuple[int, ...]) -> None:
    services = chain()
    index = ClaimIndex()
    for n in order:
        enter(index, services[n].key, services[n])
    assert enter(index, "ns1/a", None) == {"ns1/b", "ns1/c"}
    assert index.lost("ns1/b") is None
    assert index.lost("ns1/c") == (("node port", "TCP", 30080), "ns1/b")
    # And back again.
    assert enter(index, "ns1/a", services[0]) == {"ns1/b", "ns1/c"}
    assert index.lost("ns1/b") == (("10.96.0.1", "TCP", 80), "ns1/a")
    assert index.lost("ns1/c") is None


def test_removal_gives_back() -> None:
    index = ClaimIndex()
    enter(index, "ns1/a", parsed("a"))
    assert enter(index, "ns1/b", parsed("b")) == set()
    assert index.lost("ns1/b")
    assert enter(index, "ns1/a", None) == {"ns1/b"}
    assert index.lost("ns1/b") is None


def test_who_is_told() -> None:
    """`enter` names the others whose rules have to be planned again, and nobody else."""
    index = ClaimIndex()
    enter(index, "ns1/x", parsed("x", clusterIP="10.96.9.9"))
    enter(index, "ns1/b", parsed("b"))
    assert enter(index, "ns1/a", parsed("a")) == {"ns1/b"}  # the older name takes it away
    assert enter(index, "ns1/a", parsed("a", clusterIP="10.96.0.5")) == {"ns1/b"}  # and leaves it
    assert enter(index, "ns1/a", parsed("a", clusterIP="10.96.0.6")) == set()
    assert enter(index, "ns1/b", None) == set()
    assert enter(index, "ns1/none", None) == set()


def test_many_rivals() -> None:
    """A template that gives all its Services one address: the oldest has it, and goes down the line."""
    services = [parsed(f"s{n:03}") for n in range(200)]
    index = ClaimIndex()
    for one in services[::-1]:
        enter(index, one.key, one)
    assert [one.key for one in services if index.lost(one.key) is None] == ["ns1/s000"]
    assert enter(index, "ns1/s000", None) == {one.key for one in services[1:]}
    assert index.lost("ns1/s002") == (("172.30.0.41", "TCP", 80), "ns1/s001")


# Any history ends where a fresh index starts.

SMALL = st.builds(
    lambda ip, node_port, created: (f"10.96.0.{ip}", node_port, created),
    st.integers(1, 3),
    st.sampled_from([0, 30001, 30002]),
    st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
)
EVENTS = st.lists(st.tuples(st.sampled_from("abcde"), st.none() | SMALL), max_size=25)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(EVENTS)
def test_any_history_ends_as_a_fresh_index(events: list[tuple[str, tuple[str, int, str] | None]]) -> None:
    index = ClaimIndex()
    present: dict[str, ParsedService] = {}
    known: dict[str, tuple[Claim, str] | None] = {}
    for name, what in events:
        key = f"ns1/{name}"
        if what is None:
            present.pop(key, None)
        else:
            ip, number, created = what
            present[key] = parsed(name, created=created, clusterIP=ip, ports=[{"port": 80, "nodePort": number}])
        told = enter(index, key, present.get(key))
        now = {other: index.lost(other) for other in present if other != key}
        changed = {other for other, lost in now.items() if other in known and known[other] != lost}
        assert told == changed, "the wrong ones were told"
        known = {other: index.lost(other) for other in present}
    assert {key: lost for key, lost in known.items() if lost} == settled(list(present.values()))
    _check_by_definition(present, known)


def _check_by_definition(present: dict[str, ParsedService], known: dict[str, tuple[Claim, str] | None]) -> None:
    """The oldest first: whoever claims what is taken loses, and claims nothing then."""
    taken: dict[Claim, str] = {}
    for key in sorted(present, key=lambda key: (present[key].created, key)):
        contested = {claim: taken[claim] for claim in claims_of(present[key]) if claim in taken}
        lost = known[key]
        assert (lost is not None) == bool(contested)
        if lost is not None:
            assert contested[lost[0]] == lost[1]
        else:
            taken.update(dict.fromkeys(claims_of(present[key]), key))
