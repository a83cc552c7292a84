"""The worked examples of the rule book: `python -m tests.rulebook` writes their rules again.

An example is a directory with objects.yaml; beside it stand the rules that these objects add to the fixed ones, as
input of iptables-restore, of `nft -f`, and of `ipvsadm -R`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.config import build_config
from kproxy.dataplane.iptables.ruleset_for import configure, new_ruleset
from kproxy.dataplane.nftables.ruleset_for import options_for
from kproxy.plan.family import FamilyPlan
from kproxy.plan.iptables.restore import restore
from kproxy.plan.ipvs.filter import IPVS, VIPS
from kproxy.plan.ipvs.frontends import IpvsSettings
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.ipvs.text import render_servers
from kproxy.plan.nftables.design import NFTABLES, Design
from kproxy.plan.nftables.packing import pack_ip
from kproxy.plan.nftables.ruleset import NftablesRuleset
from kproxy.plan.nftables.text import render_additions, render_table
from kproxy.sources.directory import ManifestDirectory
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from kproxy.state.node import NodeInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLES = Path(__file__).parent.parent / "rules" / "examples"
NODE = "node-a"
NODE_IPS = {Family.IPV4: "172.18.0.1", Family.IPV6: "fd00:172:18::1"}
CLUSTER_CIDR = ("10.244.0.0/16", "fd00:10:244::/48")
FILES = {Family.IPV4: "iptables.rules", Family.IPV6: "ip6tables.rules"}
NFT_FILES = {Family.IPV4: "ipv4.nft", Family.IPV6: "ipv6.nft"}
SERVER_FILES = {Family.IPV4: "ipv4.ipvsadm", Family.IPV6: "ipv6.ipvsadm"}
IPVS_FILES = {Family.IPV4: "ipv4-ipvs.nft", Family.IPV6: "ipv6-ipvs.nft"}
IPVS_BASE = EXAMPLES.parent / "ipvs" / "base.nft"
BASE_HEADER = "# The table of the IPVS mode without any Service, for IPv4. Written by `make rules`.\n"
HEADER = "# What {node} adds to the fixed rules for objects.yaml. Written by `make rules`.\n"


def skeleton(family: Family) -> str:
    """The fixed rules alone, as restore input."""
    ruleset = new_ruleset(build_config({"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDR}), family)
    return ruleset.difference()[0].text


def rules_of(example: Path, family: Family) -> str:
    """What the objects of an example add, as restore input."""
    config = build_config({"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDR})
    state = _state(example)
    ruleset = new_ruleset(config, family)
    configure(ruleset, config, state.node, ())
    ruleset.applied(*ruleset.difference()[1:])
    plan = FamilyPlan(family)
    dirty, _ = state.take_dirty()
    plan.update(state, dirty)
    for key in dirty:
        ruleset.set_service(key, plan.intents.get(key, ()), plan.health_check_node_port(key))
    _, updates, deletions = ruleset.difference()
    return HEADER.format(node=NODE) + restore(updates, deletions).text


def nft_skeleton(family: Family, design: Design = NFTABLES) -> str:
    """The table of the nftables mode, or another design, without any Service."""
    ruleset = _nft_ruleset(family, design)
    ruleset.difference()
    return render_table(ruleset.table(), {})


def nft_rules_of(example: Path, family: Family) -> str:
    """What the objects of an example add to the table, as a block that can follow the table itself."""
    return _additions(example, family, NFTABLES, ())


def servers_of(example: Path, family: Family) -> str:
    """The virtual servers of an example, as input of `ipvsadm -R`. A `#` would be a command there: no header."""
    lines = render_servers(_ipvs_servers(example, family).difference())
    return "".join(f"{line}\n" for line in lines)


def ipvs_rules_of(example: Path, family: Family) -> str:
    """What the objects of an example add to the table of the IPVS mode."""
    return _additions(example, family, IPVS, _ipvs_servers(example, family).addresses)


def _additions(example: Path, family: Family, design: Design, vips: Iterable[str]) -> str:
    ruleset = _nft_ruleset(family, design)
    ruleset.difference()
    fixed = {chain.name for chain in ruleset.table().chains}
    for key, intents in _plan(example, family).intents.items():
        ruleset.set_service(key, intents)
    for ip in vips:
        ruleset.set_element(VIPS, pack_ip(ip), wanted=True)
    ruleset.difference()
    return HEADER.format(node=NODE) + render_additions(ruleset.table(), fixed, ruleset.elements())


def _ipvs_servers(example: Path, family: Family) -> IpvsServers:
    servers = IpvsServers(IpvsSettings("rr", (NODE_IPS[family],), (NODE_IPS[family],)))
    for key, intents in _plan(example, family).intents.items():
        servers.set_service(key, intents)
    return servers


def _plan(example: Path, family: Family) -> FamilyPlan:
    plan, state = FamilyPlan(family), _state(example)
    plan.update(state, state.services)
    return plan


def _nft_ruleset(family: Family, design: Design = NFTABLES) -> NftablesRuleset:
    ruleset = NftablesRuleset(family, design)
    state = ClusterState(NODE)
    state.node = NodeInfo(NODE, ips=NODE_IPS)
    config = build_config({"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDR, "proxy_mode": "nftables"})
    ruleset.configure(options_for(config, state.node, family, ()))
    return ruleset


def _state(example: Path) -> ClusterState:
    state = ClusterState(NODE)
    batch = ManifestDirectory(example).read_once()
    assert not batch.problems, batch.problems
    state.apply(batch.changes)
    return state


def main() -> None:
    for example in sorted(EXAMPLES.iterdir()):
        for family in FAMILIES:
            example.joinpath(FILES[family]).write_text(rules_of(example, family), encoding="utf-8")
            example.joinpath(NFT_FILES[family]).write_text(nft_rules_of(example, family), encoding="utf-8")
            example.joinpath(SERVER_FILES[family]).write_text(servers_of(example, family), encoding="utf-8")
            example.joinpath(IPVS_FILES[family]).write_text(ipvs_rules_of(example, family), encoding="utf-8")
            print(f"{example.name}/{FILES[family]}, {NFT_FILES[family]}, {SERVER_FILES[family]}, {IPVS_FILES[family]}")
    IPVS_BASE.write_text(BASE_HEADER + nft_skeleton(Family.IPV4, IPVS), encoding="utf-8")


if __name__ == "__main__":
    main()
