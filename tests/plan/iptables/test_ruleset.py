"""The whole ruleset: whatever the history, the kernel ends with what a fresh full load writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.plan.iptables.restore import parse_save
from kproxy.plan.iptables.ruleset import LARGE_CLUSTER_ENDPOINTS, owned
from kproxy.plan.iptables.shared import NodePortDispatch
from kproxy.state.addresses import FAMILIES, Family
from tests.plan.iptables.kernel import FakeKernel
from tests.plan.iptables.rig import Rig
from tests.plan.iptables.tracer import Packet
from tests.state.objects import endpoint_slice, gone, here, node, service
from tests.state.shorthand import make_slice, pod_ip

if TYPE_CHECKING:
    from kproxy.kube import wire
    from kproxy.sources.changes import Change

V4, V6 = FAMILIES
ADDRESSES = {V4: ("192.168.0.1",), V6: ("fd00:192:168::1",)}


def new_rig(family: Family = V4, **flags: object) -> Rig:
    return Rig(family, ADDRESSES[family], **flags)


def ip(family: Family, number: int) -> str:
    """Addresses some way apart, so that a dispatch tree of few of them has branches."""
    return f"10.96.{number // 28}.{number % 28 * 9 + 1}" if family is V4 else f"fd00:10:96::{number * 9:x}"


def web(number: int, family: Family = V4, **spec: Any) -> wire.Service:
    usual: dict[str, Any] = {"ips": [ip(family, number)], "ports": [{"name": "", "port": 80}]}
    return service(f"ns1/svc{number}", **{**usual, **spec})


def ends(number: int, words: str, family: Family = V4) -> wire.EndpointSlice:
    port = {"name": "", "port": 8080, "protocol": "TCP"}
    return make_slice(words, f"s{number}", f"ns1/svc{number}", family, [port])


# Any history.

#: What a Service may be; the address of each is its own.
VARIANTS: list[dict[str, Any]] = [
    {},
    {"type": "NodePort", "nodePort": True},
    {"type": "NodePort", "nodePort": True, "externalTrafficPolicy": "Local"},
    {"internalTrafficPolicy": "Local"},
    {"sessionAffinity": "ClientIP"},
    {"type": "LoadBalancer", "ranges": True, "nodePort": True},
    {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": True},
    {"clusterIP": "None", "ips": ()},
]
WORDS = ["", "a1", "b1", "a1 b1", "a1 a2 b1 b2", "a1!term b1", "a1!dead"]
SERVICES = st.integers(0, 7)

EVENTS = st.one_of(
    st.tuples(st.just("service"), SERVICES, st.integers(0, len(VARIANTS) - 1)),
    st.tuples(st.just("no service"), SERVICES, st.just(0)),
    st.tuples(st.just("endpoints"), SERVICES, st.integers(0, len(WORDS) - 1)),
    st.tuples(st.just("no endpoints"), SERVICES, st.just(0)),
    st.tuples(st.just("node"), st.integers(1, 2), st.just(0)),
    st.tuples(st.just("sync"), st.just(0), st.just(0)),
    st.tuples(st.just("full sync"), st.just(0), st.just(0)),
    st.tuples(st.just("refused"), st.just(0), st.just(0)),
    st.tuples(st.just("flush"), st.just(0), st.just(0)),
)


def make_variant(number: int, variant: int, family: Family) -> wire.Service:
    spec = dict(VARIANTS[variant])
    port: dict[str, Any] = {"name": "", "port": 80}
    if spec.pop("nodePort", False):
        port["nodePort"] = 30000 + number * 9
    if spec.pop("ranges", False):
        spec |= {"loadBalancerSourceRanges": ["192.168.0.0/16", "fd00:192::/32"]}
    if spec.pop("healthCheckNodePort", False):
        spec["healthCheckNodePort"] = 31000 + number
    if spec.get("type") == "LoadBalancer":
        spec["ingress"] = [{"ip": f"203.0.113.{number + 1}" if family is V4 else f"2001:db8:113::{number:x}"}]
    return web(number, family, **{"ports": [port], **spec})


class History:
    """Runs events on a rig, and keeps what the cluster looks like at the end."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.rig = new_rig(family)
        self.present: dict[tuple[str, str], Change] = {}
        for number in range(5):
            self.run("service", number, number % 3)
            self.run("endpoints", number, WORDS.index("a1 a2 b1 b2"))
        self.rig.sync(full=True)

    def run(self, what: str, number: int, choice: int) -> None:
        match what:
            case "service":
                self._change(here(make_variant(number, choice, self.family)))
            case "no service":
                self._change(gone(web(number)))
            case "endpoints":
                self._change(here(ends(number, WORDS[choice], self.family)))
            case "no endpoints":
                self._change(gone(ends(number, "")))
            case "node":
                self._change(here(node(addresses=[("InternalIP", f"192.168.0.{number}")])))
            case "sync":
                self.rig.sync()
            case "full sync":
                self.rig.sync(full=True)
            case "refused":
                self.rig.ruleset.difference()  # and the tool fails, so that the next sync is a full one
                self.rig.sync(full=True)
            case "flush":
                self.rig.kernel = FakeKernel()
                self.rig.sync(full=True)

    def _change(self, change: Change) -> None:
        key = (change.kind, change.key)
        if change.obj is None:
            self.present.pop(key, None)
        else:
            self.present[key] = change
        self.rig.apply([change])


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(EVENTS, max_size=40), st.sampled_from(FAMILIES), st.sampled_from([2, 256]), st.sampled_from([4, 1000]))
def test_any_history_ends_as_a_full_load(
    events: list[tuple[str, int, int]], family: Family, limit: int, large: int
) -> None:
    with (
        patch("kproxy.plan.iptables.dispatch.LIMIT", limit),
        patch("kproxy.plan.iptables.ruleset.LARGE_CLUSTER_ENDPOINTS", large),
    ):
        history = History(family)
        for event in events:
            history.run(*event)
        rig = history.rig
        rig.sync()
        fresh = new_rig(family)
        fresh.apply(history.present.values())
        fresh.sync(full=True)
        assert rig.kernel.user_chains() == fresh.kernel.user_chains()
        assert rig.sync() == (), "nothing is left to do"
        assert dict(rig.ruleset.chains) == rig.kernel.user_chains()
        for table, built_in in rig.kernel.tables.items():
            jumps = {chain: rules for chain, rules in built_in.items() if not owned(table, chain)}
            assert jumps == {chain: fresh.kernel.tables[table][chain] for chain in jumps}, "jumps, each once"


# What a sync writes.


def big(count: int, family: Family = V4) -> Rig:
    rig = new_rig(family)
    objects = [obj for n in range(count) for obj in (web(n, family), ends(n, "a1 b1", family))]
    return rig.load(*objects)


def chains_in(lines: tuple[str, ...]) -> set[str]:
    return {line[1:].split()[0] for line in lines if line.startswith(":")}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_sync_writes_all_and_the_second_nothing(family: Family) -> None:
    rig = new_rig(family)
    assert len(rig.sync(full=True)) > 20
    assert rig.sync() == ()


def test_an_endpoint_that_comes_writes_its_service_s_chain_and_its_place_among_the_hairpins() -> None:
    rig = big(300)
    rig.apply([here(ends(7, "a1 b1 b2"))])
    lines = rig.sync()
    assert len(chains_in(lines)) == 2
    assert "KUBE-SVC-HAIRPIN" in chains_in(lines)
    assert sum(line.startswith("-A KUBE-SVC-") for line in lines) == 4 + 3  # masquerade and three; three hairpins


def test_an_endpoint_known_already_writes_one_chain() -> None:
    rig = big(300)
    rig.apply([here(ends(7, "b1"))])
    (chain,) = chains_in(rig.sync())
    assert chain.startswith("KUBE-SVC-")


def test_a_service_that_comes_and_goes_leaves_no_trace() -> None:
    rig = big(300)
    before = rig.kernel.user_chains()
    rig.apply([here(web(301)), here(ends(301, "a1"))])
    lines = rig.sync()
    assert len(chains_in(lines)) == 2, "its own chain and one branch of the dispatch tree"
    rig.apply([gone(web(301))])
    lines = rig.sync()
    assert sum(line.startswith("-X ") for line in lines) == 1
    assert rig.kernel.user_chains() == before


def test_changes_that_are_undone_before_the_sync_write_nothing() -> None:
    rig = big(3)
    rig.apply([here(ends(1, "a1"))])
    rig.apply([gone(web(2)), here(ends(1, "a1 b1")), here(web(2))])
    assert rig.sync() == ()


def test_every_service_is_found_among_many() -> None:
    rig = big(700)
    for number in (0, 1, 255, 256, 511, 699):
        fates = rig.trace(Packet(pod_ip("a9"), ip(V4, number), 80, "tcp", "vetha9"))
        assert {fate.translated for fate in fates} == {"10.180.0.1:8080", "10.180.1.1:8080"}


# Comments in big clusters (section 2.7).


@pytest.mark.parametrize(("endpoints", "comments"), [(1000, True), (1001, False)])
def test_comments_go_beyond_a_thousand_endpoints(endpoints: int, comments: bool) -> None:
    """All endpoints count, usable or not, over all ports. Dispatch keeps its comments."""
    assert LARGE_CLUSTER_ENDPOINTS == 1000
    dead = [{"addresses": [f"10.1.{n // 250}.{n % 250 + 1}"], "conditions": {"ready": False}} for n in range(499)]
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    rig = new_rig()
    rig.load(
        web(1, ports=ports),
        endpoint_slice("s1", [*dead, {"addresses": ["10.180.0.1"]}], of="ns1/svc1", ports=ports),
    )
    if endpoints > 1000:
        rig.load(web(2), ends(2, "a1"))
    chains = {name: rules for (_, name), rules in rig.kernel.user_chains().items()}
    balancing = [rule for rules in chains.values() for rule in rules if "-j DNAT" in rule]
    assert balancing
    assert all(("--comment" in rule) is comments for rule in balancing)
    assert all("--comment" in rule for rule in chains["KUBE-SERVICES"])
    rig.apply([gone(web(2))])
    rig.sync()
    balancing = [rule for rules in rig.kernel.user_chains().values() for rule in rules if "-j DNAT" in rule]
    assert all("--comment" in rule for rule in balancing)


# Taking over from kube-proxy, beside others.

KUBE_PROXY = """\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-SVC-W42CZYI5PP74GXW6 - [0:0]
:KUBE-SEP-SXIVWICOYRO3J4NJ - [0:0]
:KUBE-EXT-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SVL-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-FW-AAAAAAAAAAAAAAAA - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -d 10.96.0.9 -p tcp -m tcp --dport 80 -j KUBE-SVC-W42CZYI5PP74GXW6
-A KUBE-SVC-W42CZYI5PP74GXW6 -j KUBE-SEP-SXIVWICOYRO3J4NJ
-A KUBE-SEP-SXIVWICOYRO3J4NJ -s 10.180.0.1 -j KUBE-MARK-MASQ
-A KUBE-SEP-SXIVWICOYRO3J4NJ -p tcp -m tcp -j DNAT --to-destination 10.180.0.1:80
-A KUBE-EXT-AAAAAAAAAAAAAAAA -j KUBE-SVL-AAAAAAAAAAAAAAAA
-A KUBE-FW-AAAAAAAAAAAAAAAA -j KUBE-EXT-AAAAAAAAAAAAAAAA
-A DOCKER -j RETURN
COMMIT
"""


def test_a_node_is_taken_over_from_kube_proxy() -> None:
    rig = new_rig()
    rig.kernel.restore(KUBE_PROXY.splitlines())
    rig.load(web(1), ends(1, "a1"))
    fresh = new_rig().load(web(1), ends(1, "a1"))
    others = {("nat", "DOCKER"), ("nat", "KUBE-MARK-DROP"), ("nat", "KUBE-KUBELET-CANARY")}
    left = rig.kernel.user_chains()
    assert {key for key in left if key not in fresh.kernel.user_chains()} == others
    assert {key: rules for key, rules in left.items() if key not in others} == fresh.kernel.user_chains()
    assert left["nat", "DOCKER"] == ("-j RETURN",)
    assert rig.kernel.tables["nat"]["PREROUTING"] == [
        '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-m addrtype --dst-type LOCAL -j DOCKER",
    ], "neither doubled nor moved"


@pytest.mark.parametrize(
    ("table", "chain", "ours"),
    [
        ("nat", "KUBE-SVC-XPGD46QRK7WJZT7O", True),
        ("nat", "KUBE-SEP-SXIVWICOYRO3J4NJ", True),
        ("nat", "KUBE-SVC-10.96.0.0/24", True),
        ("nat", "KUBE-SVC-HAIRPIN", True),
        ("nat", "KUBE-POSTROUTING", True),
        ("filter", "KUBE-POSTROUTING", False),
        ("filter", "KUBE-SVC-XPGD46QRK7WJZT7O", False),
        ("filter", "KUBE-FIREWALL", False),
        ("nat", "KUBE-MARK-DROP", False),
        ("nat", "KUBE-KUBELET-CANARY", False),
        ("mangle", "KUBE-IPTABLES-HINT", False),
        ("mangle", "KUBE-PROXY-CANARY", True),
        ("raw", "KUBE-PROXY-CANARY", False),
        ("nat", "PREROUTING", False),
        ("nat", "MY-KUBE-SVC-X", False),
    ],
)
def test_what_is_ours(table: str, chain: str, ours: bool) -> None:
    assert owned(table, chain) is ours


# Settings.


def test_a_new_detector_renders_every_service_again() -> None:
    rig = new_rig(detect_local_mode="NodeCIDR").load(web(1), ends(1, "a1"))
    assert not any("KUBE-MARK-MASQ" in rule for rule in rig.kernel.user_chains()["nat", _svc(rig)])
    rig.apply([here(node(podCIDRs=["10.180.0.0/24"]))])
    lines = rig.sync()
    assert [line for line in lines if "! -s 10.180.0.0/24 -j KUBE-MARK-MASQ" in line]
    assert rig.sync() == ()


def _svc(rig: Rig) -> str:
    (name,) = (
        chain
        for table, chain in rig.kernel.user_chains()
        if chain.startswith("KUBE-SVC-") and chain != "KUBE-SVC-HAIRPIN"
    )
    return name


TAIL = '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'


@pytest.mark.parametrize(
    ("dispatch", "family", "rules"),
    [
        (NodePortDispatch(), V4, ["-m addrtype --dst-type LOCAL"]),
        (NodePortDispatch(), V6, ["! -d ::1/128 -m addrtype --dst-type LOCAL"]),
        (NodePortDispatch(localhost=False), V4, ["! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL"]),
        (NodePortDispatch(localhost=False), V6, ["! -d ::1/128 -m addrtype --dst-type LOCAL"]),
        (
            NodePortDispatch(all=False, addresses=("127.0.0.1", "192.168.0.1")),
            V4,
            ["-d 127.0.0.1", "-d 192.168.0.1"],
        ),
        (NodePortDispatch(all=False, addresses=("127.0.0.1", "192.168.0.1"), localhost=False), V4, ["-d 192.168.0.1"]),
        (NodePortDispatch(all=False, addresses=("::1", "fd00::1")), V6, ["-d fd00::1"]),
        (NodePortDispatch(all=False), V4, []),
    ],
)
def test_where_node_ports_are_served(dispatch: NodePortDispatch, family: Family, rules: list[str]) -> None:
    """Section 2.5, below the list: the tail of the nat table's KUBE-SERVICES."""
    assert list(dispatch.rules(family)) == [f"{TAIL} {rule} -j KUBE-NODEPORTS" for rule in rules]


def test_a_line_is_traced_back_to_its_service() -> None:
    """So that a Service whose rules the kernel refuses can be left out."""
    rig = new_rig().load(make_variant(1, 6, V4), ends(1, "b1"), make_variant(2, 5, V4), ends(2, "a1"), web(3))
    rules = [line for line in _first_load(rig) if line.startswith("-A ") and "health check" not in line]
    for line in rules:
        named = re.search(r"ns1/svc\d", line)
        own = re.match(r"-A KUBE-(SVC|SVL|EXT|FW)-[A-Z2-7]{16} ", line)
        owner = rig.ruleset.owner_of(line)
        if named:
            assert owner == named[0]
        else:
            assert (owner is not None) is (own is not None), line
    assert rig.ruleset.owner_of("COMMIT") is None
    assert rig.ruleset.owner_of("-X KUBE-SVC-WHOEVER") is None


def _first_load(rig: Rig) -> tuple[str, ...]:
    rig.ruleset.read_back({})
    return rig.ruleset.difference()[0].lines


def test_a_full_load_equals_what_iptables_save_shows_of_it() -> None:
    rig = big(20)
    saved = parse_save(rig.kernel.save())
    for (table, chain), rules in rig.ruleset.chains.items():
        assert tuple(saved[table].rules[chain]) == rules


def test_a_stale_chain_that_somebody_jumps_to_is_emptied_and_does_not_stop_the_sync() -> None:
    """The kernel does not delete a chain in use; one such chain must not keep everything else from being written."""
    rig = Rig(Family.IPV4, ())
    chains = [":KUBE-SVC-STALE - [0:0]", ":MINE - [0:0]"]
    rig.kernel.restore(["*nat", *chains, "-A KUBE-SVC-STALE -p tcp -j ACCEPT", "-A MINE -j KUBE-SVC-STALE", "COMMIT"])
    rig.sync(full=True)
    assert rig.kernel.tables["nat"]["KUBE-SVC-STALE"] == []
    assert "KUBE-MARK-MASQ" in rig.kernel.tables["nat"]
    assert rig.sync() == (), "and there is nothing left to do"
