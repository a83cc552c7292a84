"""The worked examples of the rule book: `python -m tests.rulebook` writes their rules again.

An example is a directory with objects.yaml; beside it stand the rules that these objects add to the fixed ones.
"""

from __future__ import annotations

from pathlib import Path

from kproxy.config import build_config
from kproxy.dataplane.iptables.ruleset_for import configure, new_ruleset
from kproxy.plan.family import FamilyPlan
from kproxy.plan.iptables.restore import restore
from kproxy.sources.directory import ManifestDirectory
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState

EXAMPLES = Path(__file__).parent.parent / "rules" / "examples"
NODE = "node-a"
CLUSTER_CIDR = ("10.244.0.0/16", "fd00:10:244::/48")
FILES = {Family.IPV4: "iptables.rules", Family.IPV6: "ip6tables.rules"}
HEADER = "# What {node} adds to the fixed rules for objects.yaml. Written by `make rules`.\n"


def skeleton(family: Family) -> str:
    """The fixed rules alone, as restore input."""
    ruleset = new_ruleset(build_config({"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDR}), family)
    return ruleset.difference()[0].text


def rules_of(example: Path, family: Family) -> str:
    """What the objects of an example add, as restore input."""
    config = build_config({"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDR})
    state = ClusterState(NODE)
    batch = ManifestDirectory(example).read_once()
    assert not batch.problems, batch.problems
    state.apply(batch.changes)
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


def main() -> None:
    for example in sorted(EXAMPLES.iterdir()):
        for family in FAMILIES:
            example.joinpath(FILES[family]).write_text(rules_of(example, family), encoding="utf-8")
            print(f"{example.name}/{FILES[family]}")


if __name__ == "__main__":
    main()
