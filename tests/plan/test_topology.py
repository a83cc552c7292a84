"""Endpoint selection: reference section 1.8, the rows of 10.1 and 10.2 that concern it, and why others are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.plan.topology import HintMode, PassedOver, Selection, hint_mode, select_endpoints, why_passed_over
from kproxy.state.addresses import Family
from kproxy.state.service import ServicePort, ServicePortName
from tests.state.objects import NODE
from tests.state.shorthand import make_endpoints, names

if TYPE_CHECKING:
    from kproxy.state.endpoints import Endpoint

NONE, SAME_NODE, SAME_ZONE = HintMode.NONE, HintMode.SAME_NODE, HintMode.SAME_ZONE


def make_port(kind: str) -> ServicePort:
    """`kind` is words: iTP (Local), eTP (Local), np (a node port)."""
    words = kind.split()
    return ServicePort(
        ServicePortName("ns1", "svc1", "", "TCP"),
        Family.IPV4,
        "172.30.0.41",
        80,
        node_port=30080 if "np" in words else 0,
        internal_local="iTP" in words,
        external_local="eTP" in words,
    )


@dataclass(frozen=True)
class Row:
    """`row` is the number in section 10, 0 for the text of 1.8. `reachable` is the cluster list unless it is given."""

    row: int
    endpoints: str
    cluster: str
    local: str = ""
    reachable: str | None = None
    kind: str = ""
    zone: str = "z1"
    hints: HintMode = NONE
    usable: bool = True

    def __str__(self) -> str:
        return f"{self.row}: {self.kind or 'cluster'}: {self.endpoints or 'none'}"


ROWS = [
    # Cluster policy.
    Row(1, "a1 b1", "a1 b1"),
    Row(10, "", "", usable=False),
    Row(12, "a1!dead b1!dead", "", usable=False),
    Row(12, "a1!unready b1!unready", "", usable=False),  # serving alone is not enough: it has to be terminating too
    Row(0, "a1!left b1!dead", "", usable=False),
    Row(13, "a1!term b1!term", "a1 b1"),
    Row(13, "a1!term b1!dead", "a1"),
    Row(14, "b1 a1!term", "b1"),
    Row(0, "a1 b1!unready", "a1"),
    # Local internal policy, not reachable from outside: the cluster list is not used.
    Row(15, "a1 b1", "", "a1", "a1", kind="iTP"),
    Row(15, "a1 a2 b1", "", "a1 a2", "a1 a2", kind="iTP"),
    Row(17, "b1", "", "", "", kind="iTP"),
    Row(18, "a1!term b1", "", "a1", "a1", kind="iTP"),
    Row(18, "a1!term a2 b1", "", "a2", "a2", kind="iTP"),
    Row(19, "a1!dead b1", "", "", "", kind="iTP"),
    Row(20, "a1!dead b1!dead", "", "", "", kind="iTP", usable=False),
    Row(20, "", "", "", "", kind="iTP", usable=False),
    Row(0, "b1!term", "", "", "", kind="iTP"),  # usable somewhere, so it is a drop and no reject
    # Both lists: Local with something external.
    Row(44, "a1 b1", "a1 b1", "a1", "a1 b1", kind="eTP np"),
    Row(45, "b1", "b1", "", "b1", kind="eTP np"),
    Row(56, "a1!term", "a1", "a1", "a1", kind="eTP np"),
    Row(56, "a1!term b1", "b1", "a1", "a1 b1", kind="eTP np"),  # Local takes what is here, though ready ones exist
    Row(0, "a1!term b1!term", "a1 b1", "a1", "a1 b1", kind="eTP np"),
    Row(0, "a1 b1", "a1 b1", "a1", "a1 b1", kind="iTP np"),  # the node port keeps the cluster list in use
    Row(0, "a1!dead b1!left", "", "", "", kind="eTP np", usable=False),
    Row(0, "a1 b1", "a1 b1", "", "a1 b1", kind="eTP"),  # nothing external: the policy does not count
    # Topology.
    Row(32, "a1@z1 b1@z2", "a1", hints=SAME_ZONE),
    Row(32, "a1@z2@z1 b1@z2 b2@z1", "a1 b2", hints=SAME_ZONE),
    Row(33, "a1@z2 b1@z3", "a1 b1"),
    Row(34, "a1@z1 b1", "a1 b1"),
    Row(35, "a1@z1 b1@z2", "a1 b1", zone=""),
    Row(36, "a1%node-a b1%node-b", "a1", hints=SAME_NODE),
    Row(36, "a1%node-a b1%node-b%node-a b2%node-b", "a1 b1", hints=SAME_NODE),
    Row(36, "a1%node-a@z1 b1%node-b@z1", "a1", hints=SAME_NODE),  # the node goes before the zone
    Row(37, "b1%node-b@z1 b2%node-b@z2", "b1", hints=SAME_ZONE),
    Row(37, "b1%node-b b2%node-b", "b1 b2"),
    Row(37, "a1%node-a@z1 b1@z2", "a1", hints=SAME_ZONE),  # one without a node hint switches that level off
    Row(37, "a1%node-a@z1 b1@z2 b2%node-b", "a1 b1 b2"),  # and one without a zone hint the other
    Row(38, "b1@z2 a1@z1!unready", "b1"),
    Row(38, "b1@z2 a1@z1!term", "b1"),
    Row(0, "a1@z1 b1@z2 b2!unready", "a1", hints=SAME_ZONE),  # unready ones need no hint
    Row(39, "a1@z2!term b1@z1!term", "a1 b1"),
    Row(40, "a1@z2 b1@z1", "b1", "a1", "a1 b1", kind="eTP np", hints=SAME_ZONE),
    Row(40, "a1@z2 b1@z1", "", "a1", "a1", kind="iTP"),
    Row(41, "b1@z1 b2@z2", "b1", "", "b1", kind="eTP np", hints=SAME_ZONE),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_selection(row: Row) -> None:
    selection = select_endpoints(make_endpoints(row.endpoints), make_port(row.kind), NODE, row.zone)
    assert (names(selection.cluster), names(selection.local)) == (row.cluster, row.local)
    assert names(selection.reachable) == (row.cluster if row.reachable is None else row.reachable)
    assert (selection.any_usable, selection.hints) == (row.usable, row.hints)


BECAUSE: list[tuple[str, str, str]] = [
    ("", "z1", "no endpoint is ready"),
    ("a1 b1", "z1", "no endpoint has hints"),
    ("a1@z1 b1", "z1", "a ready endpoint has no zone hint"),
    ("a1@z1 b1@z2", "", "the node has no zone label"),
    ("a1@z2 b1@z3", "z1", "no ready endpoint is hinted for zone z1"),
    ("b1%node-b b2%node-c", "z1", "no ready endpoint is hinted for node node-a"),
    ("a1@z1 b1@z2", "z1", ""),
    ("a1%node-a b1%node-b", "z1", ""),
]


@pytest.mark.parametrize(("endpoints", "zone", "because"), BECAUSE)
def test_why_hints_do_not_narrow_the_list(endpoints: str, zone: str, because: str) -> None:
    mode, said = hint_mode(make_endpoints(endpoints), NODE, zone)
    assert said == because
    assert (mode is NONE) is bool(because)


def test_no_endpoints_say_so() -> None:
    selection = select_endpoints((), make_port(""), NODE, "z1")
    assert selection == Selection(hints_because="there are no endpoints")


REASONS: list[tuple[str, str, str, PassedOver]] = [
    # (kind, endpoints, the one that is passed over, why)
    ("", "a1 b1!unready", "b1", PassedOver.NOT_READY),
    ("", "a1 b1!dead", "b1", PassedOver.NOT_READY),
    ("", "a1 b1!term", "b1", PassedOver.TERMINATING),
    ("", "a1 b1!left", "b1", PassedOver.NOT_SERVING),
    ("", "b1!left", "b1", PassedOver.NOT_SERVING),
    ("", "b1!unready", "b1", PassedOver.NOT_READY),
    ("", "a1@z1 b1@z2", "b1", PassedOver.HINTED_ELSEWHERE_ZONE),
    ("", "a1%node-a b1%node-b", "b1", PassedOver.HINTED_ELSEWHERE_NODE),
    ("", "a1@z1 b1@z2!term", "b1", PassedOver.TERMINATING),
    ("iTP", "a1 b1", "b1", PassedOver.OTHER_NODE),
    ("iTP", "b1", "b1", PassedOver.OTHER_NODE),
    ("iTP", "a1 b1!term", "b1", PassedOver.OTHER_NODE),
    ("iTP", "a1 a2!term", "a2", PassedOver.TERMINATING),
    ("iTP", "a1 a2!dead", "a2", PassedOver.NOT_READY),
    ("iTP", "a1 b1!dead", "b1", PassedOver.NOT_READY),
    ("iTP", "a1!left", "a1", PassedOver.NOT_SERVING),
    ("eTP np", "a1@z1 b1@z2", "b1", PassedOver.HINTED_ELSEWHERE_ZONE),
    ("eTP np", "a1 a2!term", "a2", PassedOver.TERMINATING),
]


@pytest.mark.parametrize(("kind", "endpoints", "name", "reason"), REASONS)
def test_why_an_endpoint_is_passed_over(kind: str, endpoints: str, name: str, reason: PassedOver) -> None:
    listed, port = make_endpoints(endpoints), make_port(kind)
    passed = why_passed_over(listed, select_endpoints(listed, port, NODE, "z1"), port)
    assert [(names([endpoint]), why) for endpoint, why in passed.values()] == [(name, reason)]


# Whatever the endpoints: sections 1.8's sentences, one by one.

WORD = st.builds(
    lambda node, number, hint, state: f"{node}{number}{hint}{state}",
    st.sampled_from("ab"),
    st.integers(1, 3),
    st.sampled_from(["", "@z1", "@z2", "%node-a", "%node-b", "%node-a@z1", "%node-b@z2", "@z1@z2"]),
    st.sampled_from(["", "", "!term", "!dead", "!left", "!unready"]),
)
LISTED = st.lists(WORD, max_size=6, unique_by=lambda word: word[:2]).map(lambda words: make_endpoints(" ".join(words)))
KINDS = st.sampled_from(["", "np", "iTP", "iTP np", "eTP np", "iTP eTP np"])


@settings(max_examples=300, derandomize=True, deadline=None)
@given(LISTED, KINDS, st.sampled_from(["z1", "z2", ""]))
def test_what_always_holds(listed: tuple[Endpoint, ...], kind: str, zone: str) -> None:
    port = make_port(kind)
    selection = select_endpoints(listed, port, NODE, zone)
    ready = [endpoint for endpoint in listed if endpoint.ready]
    last_resort = [endpoint for endpoint in listed if endpoint.serving and endpoint.terminating]
    assert selection.any_usable is bool(ready or last_resort)
    if port.uses_cluster_endpoints:
        assert bool(selection.cluster) is bool(ready or last_resort)
        assert set(selection.cluster) <= set(ready or last_resort)
    else:
        assert selection.cluster == ()
    if port.uses_local_endpoints:
        usable_here = [endpoint for endpoint in ready if endpoint.local]
        usable_here = usable_here or [endpoint for endpoint in last_resort if endpoint.local]
        assert list(selection.local) == usable_here
    else:
        assert selection.local == ()
    assert set(selection.reachable) == {*selection.cluster, *selection.local}
    for chosen in (selection.cluster, selection.local, selection.reachable):
        assert list(chosen) == sorted(chosen, key=lambda endpoint: endpoint.address)
    passed = why_passed_over(listed, selection, port)
    assert {endpoint.address for endpoint in listed} == {e.address for e in selection.reachable} | passed.keys()
    assert not {endpoint.address for endpoint in selection.reachable} & passed.keys()
    for endpoint, why in passed.values():
        assert _is_so(why, endpoint), f"{endpoint} is passed over because {why}"


def _is_so(why: PassedOver, endpoint: Endpoint) -> bool:
    return {
        PassedOver.NOT_READY: not endpoint.ready and not endpoint.terminating,
        PassedOver.TERMINATING: not endpoint.ready and endpoint.terminating and endpoint.serving,
        PassedOver.NOT_SERVING: not endpoint.ready and endpoint.terminating and not endpoint.serving,
        PassedOver.OTHER_NODE: not endpoint.local,
        PassedOver.HINTED_ELSEWHERE_NODE: endpoint.ready and NODE not in endpoint.node_hints,
        PassedOver.HINTED_ELSEWHERE_ZONE: endpoint.ready and bool(endpoint.zone_hints),
    }[why]
