"""ClusterState: whatever the history, it ends as a fresh state does, and it names all that has to be planned again.

The main test works as Felix's calculation graph tests do: lists of states to move through, each list expanded by
permutations of what happens on the way. What the reached state says must not depend on the way.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.kube import wire
from kproxy.state.addresses import FAMILIES
from kproxy.state.cluster import ClusterState
from kproxy.state.mirror import LABEL_MANAGED_BY, MIRRORING
from tests.state.objects import (
    NODE,
    OTHER_NODE,
    PROXY_NAME,
    endpoint,
    endpoint_slice,
    endpoints_object,
    gone,
    here,
    node,
    service,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kproxy.sources.changes import Change

V4, V6 = FAMILIES
State = tuple[wire.KubeObject, ...]
Key = tuple[str, str]

# The objects. A version with the same name replaces the one before.
SVC = service("ns1/svc1", created="2026-01-05T00:00:00Z")
SVC_NODE_PORT = service(
    "ns1/svc1", created="2026-01-05T00:00:00Z", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]
)
SVC_DUAL = service("ns1/svc1", created="2026-01-05T00:00:00Z", ips=["172.30.0.41", "fd00::41"])
SVC_HEADLESS = service("ns1/svc1", created="2026-01-05T00:00:00Z", clusterIP="None")
SVC_FOREIGN = service("ns1/svc1", created="2026-01-05T00:00:00Z", labels={PROXY_NAME: "other"})
SVC_WITH_WARNING = service("ns1/svc1", created="2026-01-05T00:00:00Z", externalIPs=["nonsense"])
RIVAL = service("ns1/rival", created="2026-01-01T00:00:00Z")
RIVAL_ELSEWHERE = service("ns1/rival", created="2026-01-01T00:00:00Z", clusterIP="172.30.0.77")
YOUNG_RIVAL = service("ns1/young", created="2026-01-09T00:00:00Z")
INVALID = service("ns1/bad", ports=[{"port": 0}])
ONE = endpoint_slice("s1", [endpoint("10.0.0.1", node=NODE)])
ONE_MORE = endpoint_slice("s1", [endpoint("10.0.0.1", node=NODE), endpoint("10.0.0.2", node=OTHER_NODE)])
MOVED_HERE = endpoint_slice("s2", [endpoint("10.0.0.1", node=NODE, ready=False)])
BAD_PART = endpoint_slice("s1", [endpoint("nonsense"), endpoint("10.0.0.1")])
RELABELLED = endpoint_slice("s1", [endpoint("10.0.0.1", node=NODE)], of="ns1/rival")
HIDDEN = endpoint_slice("s1", [endpoint("10.0.0.1", node=NODE)], labels={PROXY_NAME: "other"})
SIX = endpoint_slice("s6", [endpoint("fd00::1", node=NODE)], family="IPv6")
OLD_API = endpoints_object([{"addresses": [{"ip": "198.51.100.7"}], "ports": [{"port": 5432}]}])
MIRRORED = endpoint_slice("m1", [endpoint("198.51.100.8")], labels={LABEL_MANAGED_BY: MIRRORING})
NODE_Z1 = node(labels={"topology.kubernetes.io/zone": "z1"}, addresses=[("InternalIP", "192.168.0.1")])
NODE_Z2 = node(labels={"topology.kubernetes.io/zone": "z2"}, addresses=[("InternalIP", "192.168.0.1")])
FOREIGN_NODE = node(OTHER_NODE, labels={"topology.kubernetes.io/zone": "z9"})

STATE_LISTS: dict[str, list[State]] = {
    "a Service comes and goes": [(), (SVC,), (SVC, ONE), (ONE,)],
    "endpoints come first": [(ONE,), (ONE, SVC), (ONE_MORE, SVC), (SVC,)],
    "a Service changes its kind": [
        (SVC, ONE),
        (SVC_NODE_PORT, ONE),
        (SVC_HEADLESS, ONE),
        (SVC_FOREIGN, ONE),
        (SVC_DUAL, ONE, SIX),
    ],
    "an endpoint moves between slices": [(SVC, ONE), (SVC, ONE, MOVED_HERE), (SVC, MOVED_HERE), (SVC, ONE_MORE)],
    "a slice changes its Service": [(SVC, RIVAL_ELSEWHERE, ONE), (SVC, RIVAL_ELSEWHERE, RELABELLED), (SVC, ONE)],
    "a slice is taken away by a label": [(SVC, ONE), (SVC, HIDDEN), (SVC, ONE_MORE)],
    "dual stack": [(SVC_DUAL,), (SVC_DUAL, ONE), (SVC_DUAL, ONE, SIX), (SVC_DUAL, SIX), (SVC, SIX)],
    "an older rival comes and goes": [(SVC, ONE), (SVC, RIVAL, ONE), (SVC, RIVAL_ELSEWHERE, ONE), (SVC, RIVAL, ONE)],
    "three want the same": [
        (SVC, RIVAL, YOUNG_RIVAL),
        (RIVAL, YOUNG_RIVAL),
        (YOUNG_RIVAL, SVC),
        (YOUNG_RIVAL, SVC_HEADLESS),
    ],
    "Endpoints count until there are slices": [
        (SVC, OLD_API),
        (SVC, OLD_API, ONE),
        (SVC, OLD_API, MIRRORED),
        (SVC, MIRRORED),
        (SVC, OLD_API),
    ],
    "the node": [(SVC, ONE), (SVC, ONE, NODE_Z1), (SVC, ONE, NODE_Z2, FOREIGN_NODE), (SVC, ONE)],
    "what is ignored is said": [(SVC_WITH_WARNING, BAD_PART), (SVC, BAD_PART), (SVC, ONE)],
    "of a Service that is gone nothing is said": [(SVC, BAD_PART), (BAD_PART,)],
    "an invalid one beside others": [(SVC,), (SVC, INVALID), (INVALID,), (INVALID, ONE)],
}


def by_key(state: State) -> dict[Key, wire.KubeObject]:
    return {(type(obj).__name__, wire.namespaced_name(obj)): obj for obj in state}


def steps(before: State, after: State) -> list[Change]:
    old, new = by_key(before), by_key(after)
    removed = [gone(old[key]) for key in old if key not in new]
    return removed + [here(obj) for key, obj in new.items() if old.get(key) is not obj]


class Consumer:
    """Keeps, as the syncer does, what it was told to plan again, and nothing else."""

    def __init__(self) -> None:
        self.state = ClusterState(NODE)
        self.planned: dict[tuple[str, str], Any] = {}

    def flush(self) -> None:
        dirty, node_changed = self.state.take_dirty()
        if node_changed:
            dirty |= self.state.services.keys()
        for key, family in itertools.product(dirty, FAMILIES):
            ports = self.state.ports(key, family)
            self.planned[key, family] = (self.state.node, ports)
            if not ports:
                del self.planned[key, family]

    def seen(self) -> dict[str, Any]:
        return {
            "planned": self.planned,
            "problems": [str(problem) for problem in self.state.problems()],
            "warnings": self.state.warnings(),
            "dns": self.state.handed_to_dns(),
            "node": self.state.node,
        }


def fresh(state: State) -> dict[str, Any]:
    consumer = Consumer()
    consumer.state.apply(here(obj) for obj in state)
    consumer.flush()
    return consumer.seen()


# Expansions of a list of states, and of the changes between two of them.


def ways(states: list[State]) -> Iterator[tuple[str, list[State]]]:
    yield "as they are", states
    yield "reversed", [*states, *states[::-1]]
    yield "with empty states between", [step for state in states for step in ((), state)]
    yield "squashed", states[-1:]
    yield "there and back", [step for state in states for step in (state, states[0], state)]


ORDERS: dict[str, Callable[[list[Change]], list[Change]]] = {
    "in order": lambda changes: changes,
    "backwards": lambda changes: changes[::-1],
    "each twice": lambda changes: [change for change in changes for _ in range(2)],
    "all twice": lambda changes: changes + changes,
}


def histories(states: list[State]) -> Iterator[tuple[str, list[list[Change]], State]]:
    """What, the changes from state to state, and the state reached."""
    for way, path in ways(states):
        for order, arrange in ORDERS.items():
            pairs = itertools.pairwise([(), *path])
            yield f"{way}, {order}", [arrange(steps(before, after)) for before, after in pairs], path[-1]


def run(batches: list[list[Change]], habit: str) -> dict[str, Any]:
    consumer = Consumer()
    for batch in batches:
        for change in batch:
            consumer.state.apply([change])
            if habit == "after each change":
                consumer.flush()
        if habit == "after each state":
            consumer.flush()
    consumer.flush()
    return consumer.seen()


@pytest.mark.parametrize("habit", ["after each change", "after each state", "at the end"])
@pytest.mark.parametrize("states", list(STATE_LISTS.values()), ids=list(STATE_LISTS))
def test_the_way_does_not_matter(states: list[State], habit: str) -> None:
    for upto in range(1, len(states) + 1):
        for what, batches, reached in histories(states[:upto]):
            assert run(batches, habit) == fresh(reached), f"{what}, first {upto} states"


@pytest.mark.parametrize("states", list(STATE_LISTS.values()), ids=list(STATE_LISTS))
def test_the_order_within_a_state_does_not_matter(states: list[State]) -> None:
    for state in states:
        expected = fresh(state)
        assert all(fresh(order) == expected for order in itertools.permutations(state))


# What single states say.


def told(*changes: Change) -> ClusterState:
    state = ClusterState(NODE)
    state.apply(changes)
    return state


def addresses(state: ClusterState, key: str = "ns1/svc1") -> list[str]:
    return [made.address for _, endpoints in state.ports(key, V4) for made in endpoints]


def test_ports_are_joined_with_endpoints_by_name_and_protocol() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}, {"name": "x", "port": 1}]
    numbers = [{"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5354, "protocol": "TCP"}]
    state = told(here(service(ports=ports)), here(endpoint_slice("s", [endpoint("10.0.0.1")], ports=numbers)))
    assert [(str(port.name), [made.address for made in found]) for port, found in state.ports("ns1/svc1", V4)] == [
        ("ns1/svc1:dns", ["10.0.0.1:5353"]),
        ("ns1/svc1:dns-tcp", ["10.0.0.1:5354"]),
        ("ns1/svc1:x", []),
    ]


def test_a_service_of_the_same_name_in_another_namespace_is_another() -> None:
    state = told(here(SVC), here(endpoint_slice("s1", [endpoint("10.0.0.9")], of="ns2/svc1")), here(ONE))
    assert addresses(state) == ["10.0.0.1:8080"]


def test_nothing_is_known_at_first() -> None:
    state = ClusterState(NODE, bind_address="192.168.0.9")
    assert state.take_dirty() == (set(), True)
    assert state.take_dirty() == (set(), False)
    assert state.ports("ns1/svc1", V4) == ()
    assert state.node.ips[V4] == "192.168.0.9"
    assert (state.problems(), state.warnings(), state.handed_to_dns()) == ([], [], {})


def test_who_has_to_be_planned_again() -> None:
    state = told(here(SVC), here(RIVAL_ELSEWHERE), here(ONE))
    assert state.take_dirty() == ({"ns1/svc1", "ns1/rival"}, True)
    for changes, names in [
        ([here(ONE_MORE)], {"ns1/svc1"}),
        ([here(RELABELLED)], {"ns1/svc1", "ns1/rival"}),
        ([gone(RELABELLED)], {"ns1/rival"}),
        ([here(RIVAL)], {"ns1/svc1", "ns1/rival"}),  # it takes svc1's address away
        ([here(OLD_API)], {"ns1/svc1"}),
        ([gone(SVC)], {"ns1/svc1"}),
        ([here(FOREIGN_NODE)], set()),
    ]:
        state.apply(changes)
        assert state.take_dirty() == (names, False)


def test_the_node_counts_only_when_what_matters_of_it_changed() -> None:
    state = told(here(NODE_Z1))
    assert state.take_dirty() == (set(), True)
    state.apply([here(NODE_Z1), here(FOREIGN_NODE), gone(FOREIGN_NODE)])
    assert state.take_dirty() == (set(), False)
    state.apply([here(NODE_Z2)])
    assert state.take_dirty() == (set(), True)
    assert state.node.zone == "z2"


def test_the_last_good_version_of_an_invalid_service_goes_on() -> None:
    state = told(here(SVC), here(ONE), here(service("ns1/svc1", ports=[{"port": 0}])))
    assert addresses(state) == ["10.0.0.1:8080"]
    assert [str(problem) for problem in state.problems()] == [
        "Service ns1/svc1: spec.ports[0].port: 0 is not in 1..65535"
    ]
    state.apply([here(SVC_NODE_PORT)])
    assert state.problems() == []
    assert state.ports("ns1/svc1", V4)[0][0].node_port == 30080
    state.apply([here(service("ns1/svc1", ports=[{"port": 0}])), gone(SVC)])
    assert (state.problems(), state.ports("ns1/svc1", V4)) == ([], ())


def test_one_that_was_never_valid_gets_no_rules() -> None:
    state = told(here(INVALID), here(endpoint_slice("s", [endpoint("10.0.0.1")], of="ns1/bad")))
    assert state.ports("ns1/bad", V4) == ()
    assert len(state.problems()) == 1


def test_a_conflict_names_both_and_what_it_is_about() -> None:
    state = told(here(SVC), here(RIVAL))
    assert [str(problem) for problem in state.problems()] == [
        "Service ns1/svc1: 172.30.0.41 80/TCP belongs to Service ns1/rival; skipped"
    ]
    assert state.ports("ns1/svc1", V4) == ()
    assert state.ports("ns1/rival", V4) != ()


def test_handed_to_dns() -> None:
    state = told(here(SVC_HEADLESS), here(service("ns1/ext", type="ExternalName", clusterIP=None)), here(RIVAL))
    assert state.handed_to_dns() == {"ns1/ext": "ExternalName", "ns1/svc1": "headless"}


def test_external_ips_off() -> None:
    state = ClusterState(NODE, external_ips_allowed=False)
    state.apply([here(service(externalIPs=["192.0.2.5"]))])
    assert state.ports("ns1/svc1", V4)[0][0].external_ips == ()


MIRRORING_CASES: list[tuple[str, Iterable[wire.KubeObject], list[str]]] = [
    ("Endpoints alone", (OLD_API,), ["198.51.100.7:5432"]),
    ("slices of the Service's own", (OLD_API, ONE), ["10.0.0.1:8080"]),
    (
        "beside mirrored slices (kubectl get svc,ep,endpointslices)",
        (OLD_API, MIRRORED),
        ["198.51.100.7:5432"],
    ),
    ("mirrored slices alone", (MIRRORED,), ["198.51.100.8:8080"]),
    ("both kinds", (OLD_API, MIRRORED, ONE), ["10.0.0.1:8080", "198.51.100.8:8080"]),
]


@pytest.mark.parametrize(
    ("objects", "expected"), [row[1:] for row in MIRRORING_CASES], ids=[r[0] for r in MIRRORING_CASES]
)
def test_endpoints_become_slices_unless_there_are_some(objects: Iterable[wire.KubeObject], expected: list[str]) -> None:
    assert addresses(told(here(SVC), *map(here, objects))) == expected
