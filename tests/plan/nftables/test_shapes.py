"""Shapes in nft's words, and the proof that the words are what is written: nft reads them, the kernel compiles them."""

# ruff: noqa: E501
# One line per rule, as nft has it.

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.dataplane.nftables.reader import read_table
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.local_traffic import LocalTraffic
from kproxy.plan.nftables.layout import TABLE, LayoutOptions, base_table
from kproxy.plan.nftables.model import Table
from kproxy.plan.nftables.rule_text import render_rule
from kproxy.plan.nftables.shapes import Learn, Shape, chains_of
from kproxy.plan.nftables.text import render_table
from kproxy.state.addresses import FAMILIES, Family
from tests.netlink.netns import PrivateNetns
from tests.plan.nftables.nft import readable

if TYPE_CHECKING:
    from kproxy.plan.nftables.model import Snapshot
    from kproxy.plan.nftables.shapes import Kind

V4, V6 = FAMILIES
PODS = {V4: LocalTraffic(cidr="10.180.0.0/16"), V6: LocalTraffic(cidr="fd00:180::/32")}
KINDS: tuple[Kind, ...] = ("cluster-ip", "external", "nodeport")

PICK = "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod {} map @endpoints"


def balance(size: int, prefix: str = "") -> str:
    """The chain that chooses from a list of the smallest sizes: the picks are there already."""
    pick, name = f"{prefix}pick", f"{prefix}balance-{size}"
    if prefix == "local-":
        pick, name = "pick-local", f"balance-local-{size}"
    steps = [f"{name}: jump {pick}-{slots}" for slots in (*(size,) * 8, size // 2)]
    return "\n".join([*steps, f"{name}: goto {pick}-1"])


EXPECTED = {
    Shape("cluster-ip", 4): f"""
        {balance(4)}
        cluster-ip-4: ip saddr != 10.180.0.0/16 jump mark-for-masquerade
        cluster-ip-4: goto balance-4""",
    Shape("cluster-ip", 128): f"""
        pick-128: {PICK.format(128)}
        {balance(128)}
        cluster-ip-128: ip saddr != 10.180.0.0/16 jump mark-for-masquerade
        cluster-ip-128: goto balance-128""",
    Shape("external", 8): f"""
        {balance(8)}
        external-8: jump mark-for-masquerade
        external-8: goto balance-8""",
    Shape("external", 8, 4): f"""
        {balance(8)}
        {balance(4, "local-")}
        external-local-8-4: ip saddr 10.180.0.0/16 goto balance-8
        external-local-8-4: fib saddr type local jump mark-for-masquerade
        external-local-8-4: fib saddr type local goto balance-8
        external-local-8-4: goto balance-local-4""",
    Shape("nodeport", 4, 0, sticky=True): f"""
        {balance(4, "nodeport-")}
        nodeport-sticky-4: dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @affinity
        nodeport-sticky-4: goto nodeport-balance-4
        nodeport-local-4-0-sticky: ip saddr 10.180.0.0/16 goto nodeport-sticky-4
        nodeport-local-4-0-sticky: fib saddr type local jump mark-for-masquerade
        nodeport-local-4-0-sticky: fib saddr type local goto nodeport-sticky-4""",
    Learn(60): """
        learn-60: meta l4proto tcp update @affinity { ct original ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst timeout 60s : ip daddr . th dport }
        learn-60: meta l4proto udp update @affinity { ct original ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst timeout 60s : ip daddr . th dport }
        learn-60: meta l4proto sctp update @affinity { ct original ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst timeout 60s : ip daddr . th dport }""",
}


@pytest.mark.parametrize("shape", EXPECTED, ids=lambda shape: shape.chain)
def test_rules_of_a_shape(shape: Shape | Learn) -> None:
    specs = {spec.name: spec for spec in base_table(V4, LayoutOptions()).sets}
    chains = chains_of(shape, V4, LayoutOptions(local=PODS[V4]))
    rules = [f"{chain.name}: {render_rule(rule, V4, specs)}" for chain in chains for rule in chain.rules]
    assert rules == [line.strip() for line in EXPECTED[shape].splitlines() if line.strip()]


def first_rule(local: LocalTraffic, family: Family = V4, *, masquerade_all: bool = False) -> str:
    specs = {spec.name: spec for spec in base_table(family, LayoutOptions()).sets}
    options = LayoutOptions(local=local, masquerade_all=masquerade_all)
    return render_rule(chains_of(Shape("cluster-ip", 4), family, options)[-1].rules[0], family, specs)


def test_what_is_masqueraded_on_its_way_to_a_cluster_ip() -> None:
    """Reference 8.4 and 3.4."""
    mark = "jump mark-for-masquerade"
    assert first_rule(LocalTraffic()) == "goto balance-4"
    assert first_rule(LocalTraffic(), masquerade_all=True) == mark
    assert first_rule(PODS[V4]) == f"ip saddr != 10.180.0.0/16 {mark}"
    assert first_rule(PODS[V4], masquerade_all=True) == mark
    assert first_rule(LocalTraffic(cidr="10.128.0.0/9")) == f"ip saddr != 10.128.0.0/9 {mark}"
    assert first_rule(LocalTraffic(interface="cbr0")) == f'iifname != "cbr0" {mark}'
    assert first_rule(LocalTraffic(interface_prefix="veth")) == f'iifname != "veth*" {mark}'
    assert first_rule(PODS[V6], V6) == f"ip6 saddr != fd00:180::/32 {mark}"
    assert first_rule(LocalTraffic(cidr="fd00:180::/57"), V6) == f"ip6 saddr != fd00:180::/57 {mark}"


OPTIONS: list[dict[str, Any]] = [
    {"local": True, "service_cidrs": True},
    {"all_node_port_ips": True, "masquerade_all": True, "mark": 0x8},
    {"local": LocalTraffic(interface="cbr0")},
    {"local": LocalTraffic(interface_prefix="veth-")},
    {"local": LocalTraffic(cidr="10.128.0.0/9")},
    {"local": LocalTraffic(cidr="0.0.0.0/0")},
    {"local": LocalTraffic(cidr="10.1.2.3/32")},
]
OF_IPV6 = {"10.128.0.0/9": "fd00::/9", "0.0.0.0/0": "::/0", "10.1.2.3/32": "fd00::1/128"}


def options_of(number: int, family: Family) -> LayoutOptions:
    values = dict(OPTIONS[number])
    local = values.get("local")
    if local is True:
        values["local"] = PODS[family]
    elif isinstance(local, LocalTraffic) and local.cidr and family is V6:
        values["local"] = LocalTraffic(cidr=OF_IPV6[local.cidr])
    if values.get("service_cidrs"):
        values["service_cidrs"] = ("10.96.0.0/12", "10.112.0.0/16") if family is V4 else ("fd00:96::/112",)
    return LayoutOptions(**values)


@pytest.mark.root
@pytest.mark.parametrize("number", range(len(OPTIONS)))
@pytest.mark.parametrize("family", FAMILIES)
def test_nft_reads_the_words_as_the_same_expressions(family: Family, number: int) -> None:
    options = options_of(number, family)
    shapes: list[Shape | Learn] = [
        Shape(kind, cluster, local, sticky)
        for kind, cluster, local, sticky in itertools.product(KINDS, (4, 128), (None, 0, 4, 128), (False, True))
        if local is None or kind != "cluster-ip"
    ]
    if family is V4:  # nft 1.0.6 can't read it for IPv6
        shapes.append(Learn(10800))
    base = base_table(family, options)
    chains = {chain.name: chain for chain in base.chains}
    for shape in shapes:
        chains |= {chain.name: chain for chain in chains_of(shape, family, options)}
    table = Table(family, base.name, base.sets, tuple(chains.values()), base.comment)
    with PrivateNetns() as netns:
        netns.tool("nft", "-f", "-", stdin=readable(render_table(table, {})))
        snapshot = netns.run(lambda: _read(family))
    assert snapshot is not None
    compiled = {chain.name: chain for chain in snapshot.table.chains}
    # For an interval set nft swaps the bytes of a protocol, which is one byte; see tests/test_rulebook.py.
    compiled["firewall-check"] = chains["firewall-check"]
    assert compiled == chains


def _read(family: Family) -> Snapshot | None:
    with NetlinkSocket() as netlink:
        return read_table(netlink, family, TABLE)
