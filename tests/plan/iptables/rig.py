"""A node under test without a kernel: objects in, the rules of one family in a fake kernel, packets traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.config import build_config
from kproxy.dataplane.iptables.ruleset_for import configure, new_ruleset
from kproxy.plan.family import FamilyPlan
from kproxy.plan.iptables.restore import parse_save
from kproxy.state.cluster import ClusterState
from tests.plan.iptables.kernel import FakeKernel
from tests.plan.iptables.tracer import Fate, Node, Packet, Tracer
from tests.state.objects import NODE, here

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.config import Config
    from kproxy.kube import wire
    from kproxy.plan.iptables.ruleset import IptablesRuleset
    from kproxy.sources.changes import Change
    from kproxy.state.addresses import Family

CLUSTER_CIDRS = ("10.180.0.0/16", "fd00:180::/32")


def make_config(**values: object) -> Config:
    """A configuration by flag names; the cluster CIDRs are those of the pods in `tests.state.shorthand`."""
    return build_config({"hostname_override": NODE, "cluster_cidr": CLUSTER_CIDRS, **values})


class Rig:
    """One node in one family. `load` syncs objects into the fake kernel, as the proxier does."""

    def __init__(self, family: Family, addresses: Iterable[str], **flags: object) -> None:
        self.family = family
        self.addresses = tuple(addresses)
        self.config = make_config(**flags)
        self.state = ClusterState(NODE, external_ips_allowed=self.config.external_ips_allowed)
        self.plan = FamilyPlan(family)
        self.ruleset = new_ruleset(self.config, family)
        self.kernel = FakeKernel()

    def load(self, *objects: wire.KubeObject) -> Rig:
        """Take objects in and sync."""
        self.apply(here(obj) for obj in objects)
        self.sync(full=True)
        return self

    def apply(self, changes: Iterable[Change]) -> None:
        """Take changes in, and plan what they touch."""
        self.state.apply(changes)
        dirty, node_changed = self.state.take_dirty()
        if node_changed:
            dirty |= self.state.services.keys()
        configure(self.ruleset, self.config, self.state.node, self.addresses)
        self.plan.update(self.state, dirty)
        for key in dirty:
            self.ruleset.set_service(key, self.plan.intents.get(key, ()), self.plan.health_check_node_port(key))

    def sync(self, *, full: bool = False) -> tuple[str, ...]:
        """Write the difference into the fake kernel; return its lines."""
        if full:
            self.ruleset.read_back(parse_save(self.kernel.save()))
        restore, updates, deletions = self.ruleset.difference()
        self.kernel.restore(restore.lines)
        self.ruleset.applied(updates, deletions)
        return restore.lines

    def trace(self, packet: Packet, **node: object) -> list[Fate]:
        """What becomes of a packet."""
        settings: dict[str, object] = {"addresses": frozenset(self.addresses), **node}
        return Tracer(self.kernel.tables, Node(**settings)).trace(packet)  # type: ignore[arg-type]


def rules_of(ruleset: IptablesRuleset, table: str) -> dict[str, list[str]]:
    """The wanted chains of one table."""
    return {chain: list(rules) for (name, chain), rules in ruleset.chains.items() if name == table}
