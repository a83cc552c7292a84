"""Dispatch trees: the same chains whatever the history, every key found, and no chain longer than the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.plan.iptables.dispatch import FAN_OUT_BITS, LIMIT, Chains, address_key, address_tree, port_tree
from kproxy.plan.iptables.names import MAX_CHAIN_NAME
from kproxy.state.addresses import FAMILIES, Family
from tests.plan.iptables.tracer import Node, Packet, Tracer

if TYPE_CHECKING:
    from kproxy.plan.iptables.dispatch import DispatchTree

V4, V6 = FAMILIES
FAN_OUT = 1 << FAN_OUT_BITS


def addresses(family: Family, count: int, step: int = 1, start: str = "") -> list[str]:
    """`count` addresses, `step` apart."""
    first = address_key(start or ("10.96.0.1" if family is V4 else "fd00:10:96::1"))
    return [_address(family, first + n * step) for n in range(count)]


def _address(family: Family, key: int) -> str:
    import ipaddress

    return str(ipaddress.IPv4Address(key) if family is V4 else ipaddress.IPv6Address(key))


def fill(tree: DispatchTree, ips: list[str], option: str = "-d") -> DispatchTree:
    for number, ip in enumerate(ips, 1):
        tree.put(address_key(ip), f"ns1/svc{number}", (dnat(ip, number, option),))
    return tree


def dnat(ip: str, number: int, option: str = "-d") -> str:
    target = f"1.1.1.1:{number}" if "." in ip else f"[2000::1]:{number}"
    return f"{option} {ip} -p tcp -j DNAT --to-destination {target}"


def lookup(chains: Chains, packet: Packet) -> tuple[str, int]:
    """Return what a packet is translated to, and the number of rules it met."""
    nat = {chain: list(rules) for chain, rules in chains.branches.items()}
    nat |= {"PREROUTING": list(chains.root), "POSTROUTING": []}
    filters = {"INPUT": [], "FORWARD": [], "OUTPUT": []}  # type: dict[str, list[str]]
    tracer = Tracer({"nat": nat, "filter": filters}, Node(frozenset()))
    (fate,) = tracer.trace(packet)
    return fate.translated, tracer.steps


def towards(ip: str, port: int = 80, protocol: str = "tcp") -> Packet:
    return Packet("198.51.100.5" if "." in ip else "2001:db8::5", ip, port, protocol)


def check_limits(chains: Chains, limit: int = LIMIT) -> None:
    for name, rules in {"the root": chains.root, **chains.branches}.items():
        assert len(name) <= MAX_CHAIN_NAME
        assert 0 < len(rules) <= max(limit, FAN_OUT) or name == "the root", f"{name} has {len(rules)} rules"
    jumps = [rule.rpartition(" -j ")[2] for rules in (chains.root, *chains.branches.values()) for rule in rules]
    for name in chains.branches:
        assert jumps.count(name) == 1, f"{name} is reached by {jumps.count(name)} rules"


# What it looks like, with a limit that makes small examples.


@pytest.fixture
def limit_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.plan.iptables.dispatch.LIMIT", 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_up_to_the_limit_it_is_flat_and_sorted(family: Family) -> None:
    ips = addresses(family, LIMIT)
    chains = fill(address_tree(family, "-d"), ips[::-1]).render()
    assert chains.branches == {}
    assert [rule.split()[1] for rule in chains.root] == ips
    assert fill(address_tree(family, "-d"), addresses(family, LIMIT + 1)).render().branches


@pytest.mark.usefixtures("limit_64")
def test_one_more_and_it_is_split() -> None:
    """65 addresses from 10.96.0.1: blocks of 16, the first a short one."""
    chains = fill(address_tree(V4, "-d"), addresses(V4, 65)).render()
    assert chains.root == (
        "-d 10.96.0.0/28 -j KUBE-SVC-10.96.0.0/28",
        "-d 10.96.0.16/28 -j KUBE-SVC-10.96.0.16/28",
        "-d 10.96.0.32/28 -j KUBE-SVC-10.96.0.32/28",
        "-d 10.96.0.48/28 -j KUBE-SVC-10.96.0.48/28",
        "-d 10.96.0.64/28 -j KUBE-SVC-10.96.0.64/28",
    )
    assert [len(rules) for rules in chains.branches.values()] == [15, 16, 16, 16, 2]


@pytest.mark.usefixtures("limit_64")
def test_a_key_that_is_alone_in_its_block_stands_in_the_parent() -> None:
    chains = fill(address_tree(V4, "-d"), [*addresses(V4, 64), "192.0.2.5"]).render()
    assert chains.root == ("-d 0.0.0.0/4 -j KUBE-SVC-0.0.0.0/4", dnat("192.0.2.5", 65))


@pytest.mark.usefixtures("limit_64")
def test_ipv6_blocks() -> None:
    chains = fill(address_tree(V6, "-s", label="H-"), addresses(V6, 65, step=0x1000), "-s").render()
    assert chains.root[0] == "-s fd00:10:96::/112 -j KUBE-SVC-H-fd00:10:96::/112"


@pytest.mark.usefixtures("limit_64")
def test_ports() -> None:
    tree = port_tree("UDP")
    for number in range(30000, 30065):
        tree.put(number, f"svc{number}", (f"-m udp -p udp --dport {number} -j DNAT --to-destination 1.1.1.1:{number}",))
    chains = tree.render()
    assert chains.root[0] == "-m udp -p udp --dport 30000:30015 -j KUBE-SVC-udp-30000:30015"
    for number in (30000, 30031, 30064):
        assert lookup(chains, towards("192.0.2.1", number, "udp"))[0] == f"1.1.1.1:{number}"
    assert lookup(chains, towards("192.0.2.1", 30100, "udp"))[0] == ""
    assert lookup(chains, towards("192.0.2.1", 30000, "tcp"))[0] == ""


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_all_ports_there_are(protocol: str) -> None:
    tree = port_tree(protocol)
    low = protocol.lower()
    for number in range(1, 65536, 7):
        tree.put(number, "svc", (f"-m {low} -p {low} --dport {number} -j DNAT --to-destination 1.1.1.1:{number}",))
    chains = tree.render()
    check_limits(chains)
    for number in (1, 8, 32761, 65535 // 7 * 7 + 1 - 7):
        found, steps = lookup(chains, towards("192.0.2.1", number, low))
        assert found == f"1.1.1.1:{number}"
        assert steps <= 3 * FAN_OUT + LIMIT


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_thousand_services(family: Family) -> None:
    ips = addresses(family, 10_000, step=5)
    chains = fill(address_tree(family, "-d"), ips).render()
    check_limits(chains)
    for number in (1, 2, 64, 65, 5000, 9999, 10_000):
        found, steps = lookup(chains, towards(ips[number - 1]))
        assert found.endswith(f":{number}")
        assert steps <= 4 * FAN_OUT + LIMIT
    assert lookup(chains, towards(_address(family, address_key(ips[77]) + 1)))[0] == ""


def test_rules_of_several_owners_under_one_key() -> None:
    tree = address_tree(V4, "-s")
    tree.put(1, "ns1/b", ("-j B", "-j SHARED"))
    tree.put(1, "ns1/a", ("-j A", "-j SHARED"))
    assert tree.render().root == ("-j A", "-j SHARED", "-j B")
    tree.put(1, "ns1/a", ())
    assert tree.render().root == ("-j B", "-j SHARED")
    tree.put(1, "ns1/b", ())
    tree.put(1, "ns1/b", ())
    tree.put(2, "ns1/none", ())
    assert tree.render() == Chains((), {})


def test_a_change_touches_one_leaf() -> None:
    tree = fill(address_tree(V4, "-d"), addresses(V4, 1000, step=3))
    before = tree.render()
    tree.put(address_key("10.96.5.2"), "ns1/new", (dnat("10.96.5.2", 7),))
    after = tree.render()
    changed = {name for name in after.branches if after.branches[name] != before.branches.get(name)}
    assert len(changed) == 1
    assert after.root == before.root
    tree.put(address_key("10.96.5.2"), "ns1/new", ())
    assert tree.render() == before


# Any history.

Family_and_keys = tuple[Family, list[tuple[int, int]]]


def _keys(family: Family) -> st.SearchStrategy[int]:
    """Crowded places and lonely ones: a few prefixes, and few bits below them."""
    width = family.bits
    prefixes = st.sampled_from([0, 1, 10 << (width - 8), (10 << (width - 8)) + 1024, (1 << width) - 4096])
    return st.one_of(
        st.builds(lambda prefix, low: prefix + low, prefixes, st.integers(0, 40)),
        st.builds(lambda prefix, low: prefix + low, prefixes, st.integers(0, 4095)),
        st.integers(0, (1 << width) - 1),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Family, list[tuple[str, int, str, int]]]:
    """A family, and puts (key, owner, version), removals and renderings in any order."""
    family = draw(st.sampled_from(FAMILIES))
    pool = draw(st.lists(_keys(family), min_size=1, max_size=60, unique=True))
    step = st.one_of(
        st.tuples(st.just("put"), st.sampled_from(pool), st.sampled_from("abc"), st.integers(0, 2)),
        st.tuples(st.just("remove"), st.sampled_from(pool), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("render"), st.just(0), st.just(""), st.just(0)),
    )
    return family, draw(st.lists(step, max_size=150))


@settings(max_examples=120, derandomize=True, deadline=None)
@given(histories(), st.sampled_from([1, 3, 8]), st.sampled_from([0, 3, 256]))
def test_any_history_ends_as_a_fresh_tree(
    history: tuple[Family, list[tuple[str, int, str, int]]], limit: int, one_by_one: int
) -> None:
    family, events = history
    held: dict[tuple[int, str], tuple[str, ...]] = {}
    tree = address_tree(family, "-d")
    module = "kproxy.plan.iptables.dispatch"
    with patch(f"{module}.LIMIT", limit), patch(f"{module}.ONE_BY_ONE", one_by_one):
        for what, key, owner, version in events:
            if what == "put":
                held[key, owner] = (dnat(_address(family, key), version + 1),)
                tree.put(key, owner, held[key, owner])
            elif what == "remove":
                held.pop((key, owner), None)
                tree.put(key, owner, ())
            else:
                tree.render()
        fresh = address_tree(family, "-d")
        for (key, owner), rules in sorted(held.items(), reverse=True):
            fresh.put(key, owner, rules)
        chains = tree.render()
        assert chains == fresh.render()
        assert tree.render() == chains, "rendering changes nothing"
    for key, owner in held:
        first = min(other for number, other in held if number == key)
        if owner == first:
            found, _ = lookup(chains, towards(_address(family, key)))
            assert found == held[key, owner][0].rpartition(" ")[2]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data(), st.sampled_from(FAMILIES), st.sampled_from([1, 4, LIMIT]))
def test_limits_hold_for_any_set_of_keys(data: st.DataObject, family: Family, limit: int) -> None:
    keys = data.draw(st.sets(_keys(family), max_size=200))
    tree = fill(address_tree(family, "-d", label="H-"), [_address(family, key) for key in keys])
    with patch("kproxy.plan.iptables.dispatch.LIMIT", limit):
        check_limits(tree.render(), limit)
