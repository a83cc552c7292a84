"""The worked examples of the rule book: `python -m tests.rulebook` writes their rules again.

An example is a directory with objects.yaml; beside it stand the rules that these objects add to the fixed ones, as
input of iptables-restore and of `nft -f`.
"""

from __future__ import annotations

from pathlib import Path

from kproxy.config import build_config
from kproxy.dataplane.iptables.ruleset_for import configure, new_ruleset
from kproxy.dataplane.nftables.ruleset_for import options_for
from kproxy.plan.family import FamilyPlan
from kproxy.plan.iptables.restore import restore
from kproxy.plan.nftables.ruleset import NftablesRuleset
from kproxy.plan.nftables.text import render_additions, render_table
from kproxy.sources.directory import ManifestDirectory
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from kproxy.state.node import NodeInfo

EXAMPLES = Path(__file__).parent.parent / "rules" / "examples"
NODE = "node-a"
NODE_IPS = {Family.IPV4: "172.18.0.1", Family.IPV6: "fd00:172:18::1"}
CLUSTER_CIDR = ("10.244.0.0/16", "fd00:10:244::/48")
FILES = {Family.IPV4: "iptables.rules", Family.IPV6: "ip6tables.rules"}
NFT_FILES = {Family.IPV4: "ipv4.nft", Family.IPV6: "ipv6.nft"}
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


def nft_skeleton(family: Family) -> str:
    """The table of the nftables mode without any Service."""
    ruleset = _nft_ruleset(family)
    ruleset.difference()
    return render_table(ruleset.table(), {})


def nft_rules_of(example: Path, family: Family) -> str:
    """What the objects of an example add to the table, as a block that can follow the table itself."""
    ruleset = _nft_ruleset(family)
    ruleset.difference()
    fixed = {chain.name for chain in ruleset.table().chains}
    plan = FamilyPlan(family)
    state = _state(example)
    plan.update(state, state.services)
    for key, intents in plan.intents.items():
        ruleset.set_service(key, intents)
    ruleset.difference()
    return HEADER.format(node=NODE) + render_additions(ruleset.table(), fixed, ruleset.elements())


def _nft_ruleset(family: Family) -> NftablesRuleset:
    ruleset = NftablesRuleset(family)
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
            print(f"{example.name}/{FILES[family]}, {NFT_FILES[family]}")


if __name__ == "__main__":
    main()
