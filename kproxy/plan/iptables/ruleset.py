"""The whole ruleset of one family: Services in, chains that differ from the kernel's out.

The fixed chains come from the rule book, those of a Service from `service.py`, those that Services share from
`shared.py`. Dispatch is a tree, so one changed Service rewrites a few small chains whatever the size of the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.delta import UNKNOWN, DeltaTracker
from kproxy.plan.iptables import names
from kproxy.plan.iptables.restore import ChainKey, Restore, Rules, SavedTable, missing_jumps, restore, target_of
from kproxy.plan.iptables.service import PortRules, RenderOptions, port_rules
from kproxy.plan.iptables.shared import NodePortDispatch, SharedChains
from kproxy.plan.iptables.skeleton import TABLES, TableSkeleton

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.iptables.skeleton import Jump
    from kproxy.state.addresses import Family

LARGE_CLUSTER_ENDPOINTS = 1000
"""Beyond so many endpoints the rules of the per-service chains carry no comments, as in kube-proxy."""

FIXED_CHAINS = {
    "filter": {
        *("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-FORWARD"),
        *("KUBE-PROXY-FIREWALL", "KUBE-PROXY-CANARY"),
    },
    "nat": {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY"},
    "mangle": {"KUBE-PROXY-CANARY"},
}
"""Chains with these names are kproxy's (and kube-proxy's), whatever is in them.

The filter table's KUBE-FIREWALL is not among them: the kubelet shares it, so it is written, but never deleted.
"""


class _Service(msgspec.Struct):
    intents: tuple[PortIntent, ...]
    health_check_node_port: int
    rules: tuple[PortRules, ...]


class IptablesRuleset:
    """Desired chains of one family, and the difference to what the kernel holds."""

    def __init__(self, family: Family, skeleton: Mapping[str, TableSkeleton]) -> None:
        self.family = family
        self._skeleton = skeleton
        self._options = RenderOptions()
        self._tail: Rules = NodePortDispatch().rules(family)
        self._services: dict[str, _Service] = {}
        self._unrendered: set[str] = set()
        self._endpoints = 0
        self._shared = SharedChains(family)
        self._branches: set[ChainKey] = set()
        # Chains that somebody else's chain jumps to: the kernel does not delete them, so they are only emptied.
        self._in_use: set[ChainKey] = set()
        self._tracker: DeltaTracker[ChainKey, Rules] = DeltaTracker()
        self._missing_jumps = {table: list(skeleton[table].jumps) for table in TABLES}
        self._rule_counts = dict.fromkeys(TABLES, 0)
        for table in TABLES:
            for chain, rules in skeleton[table].chains.items():
                self._want((table, chain), rules)

    @property
    def chains(self) -> Mapping[ChainKey, Rules]:
        """All wanted chains with their rules, as of the last `difference`."""
        return self._tracker.desired

    @property
    def rule_counts(self) -> Mapping[str, int]:
        """The number of rules in `chains`, by table."""
        return self._rule_counts

    def jumps(self, table: str) -> tuple[Jump, ...]:
        """Return the jumps from built-in chains that one table has to have."""
        return self._skeleton[table].jumps

    def configure(self, options: RenderOptions, node_ports: NodePortDispatch) -> None:
        """Set what shapes every Service's rules; if it changed, all of them are rendered again."""
        self._tail = node_ports.rules(self.family)
        options = msgspec.structs.replace(options, comments=self._options.comments)
        self._use(options)

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int = 0) -> None:
        """Enter or replace one Service ("namespace/name"); without intents and health check it goes.

        Rules are rendered when the difference is asked for.
        """
        intents = tuple(intents)
        old = self._services.get(key)
        if old is not None:
            self._endpoints -= _count_endpoints(old.intents)
        elif not intents and not health_check_node_port:
            return
        self._endpoints += _count_endpoints(intents)
        self._services[key] = _Service(intents, health_check_node_port, old.rules if old is not None else ())
        self._unrendered.add(key)

    def difference(self) -> tuple[Restore, dict[ChainKey, Rules], list[ChainKey]]:
        """Return the restore that makes the kernel hold what is wanted, and its updates and deletions.

        Pass the last two to `applied` when it succeeded.
        """
        self._use(msgspec.structs.replace(self._options, comments=self._endpoints <= LARGE_CLUSTER_ENDPOINTS))
        if self._unrendered:
            for key in self._unrendered:
                self._render(key)
            self._unrendered.clear()
        self._assemble()
        updates = self._tracker.updates()
        deletions: list[ChainKey] = []
        for stale in self._tracker.deletions():
            if stale not in self._in_use:
                deletions.append(stale)
            elif self._tracker.actual[stale] != ():
                updates[stale] = ()
        return restore(updates, deletions, self._missing_jumps, self._lifted(updates)), updates, deletions

    def applied(self, updates: Mapping[ChainKey, Rules], deletions: Iterable[ChainKey]) -> None:
        """Record that a difference is in the kernel."""
        self._tracker.applied(updates, deletions)
        self._missing_jumps = {table: [] for table in TABLES}

    def read_back(self, saved: Mapping[str, SavedTable]) -> None:
        """Take over what the kernel holds: our chains' names (their rules are written anew) and the jumps."""
        self._tracker.replace_actual(
            {
                (table, chain): UNKNOWN
                for table, content in saved.items()
                for chain in content.user_chains
                if owned(table, chain)
            }
        )
        self._in_use = {
            (table, target_of(rule))
            for table, content in saved.items()
            for chain in content.user_chains
            if not owned(table, chain)
            for rule in content.rules.get(chain, ())
        }
        self._missing_jumps = {table: missing_jumps(saved.get(table), self._skeleton[table].jumps) for table in TABLES}

    def owner_of(self, line: str) -> str | None:
        """Return the Service that a line of a restore comes from; None if it is not one Service's."""
        word, _, rest = line.partition(" ")
        chain, _, rule = rest.partition(" ")
        if word != "-A":
            return None
        for key, service in self._services.items():
            for rules in service.rules:
                shared = (rules.filter_services, rules.filter_external, rules.filter_firewall)
                single = [text for _, text in (*rules.addresses, *rules.node_ports)]
                if chain in rules.chains or rule in single or any(rule in lines for lines in shared):
                    return key
        return None

    def _lifted(self, updates: Mapping[ChainKey, Rules]) -> dict[ChainKey, Rules]:
        """Return the rules of filter chains that the kernel holds, as far as known, and the updates drop."""
        found: dict[ChainKey, Rules] = {}
        for key, rules in updates.items():
            held = self._tracker.actual.get(key)
            if key[0] == "filter" and isinstance(held, tuple):
                wanted = set(rules)
                gone = tuple(rule for rule in held if rule not in wanted)
                if gone:
                    found[key] = gone
        return found

    def _use(self, options: RenderOptions) -> None:
        if options != self._options:
            self._options = options
            self._unrendered.update(self._services)

    def _render(self, key: str) -> None:
        service = self._services[key]
        for rules in service.rules:
            for chain in rules.chains:
                self._unwant(("nat", chain))
        before, service.rules = service.rules, tuple(port_rules(intent, self._options) for intent in service.intents)
        for rules in service.rules:
            for chain, content in rules.chains.items():
                self._want(("nat", chain), content)
        self._shared.set_service(key, before, service.rules, service.health_check_node_port)
        if not service.intents and not service.health_check_node_port:
            del self._services[key]

    def _assemble(self) -> None:
        """Bring the shared chains into the tracker."""
        branches: set[ChainKey] = set()
        fixed = self._skeleton
        for (table, chain), rules in self._shared.chains(self._tail):
            if chain not in fixed[table].chains:
                branches.add((table, chain))
            held = self._tracker.desired.get((table, chain))
            if held is not rules and held != rules:
                self._want((table, chain), rules)
        for key in self._branches - branches:
            self._unwant(key)
        self._branches = branches

    def _want(self, key: ChainKey, rules: Rules) -> None:
        self._rule_counts[key[0]] += len(rules) - len(self.chains.get(key, ()))
        self._tracker.want(key, rules)

    def _unwant(self, key: ChainKey) -> None:
        self._rule_counts[key[0]] -= len(self.chains.get(key, ()))
        self._tracker.unwant(key)


def _count_endpoints(intents: Iterable[PortIntent]) -> int:
    return sum(len(intent.endpoints) for intent in intents)


def owned(table: str, chain: str) -> bool:
    """Tell whether a chain belongs to kproxy (or kube-proxy, whose place it takes) by its name alone."""
    if table == "nat" and chain.startswith(names.PER_SERVICE_PREFIXES):
        return True
    return chain == names.PROBE_CHAIN or chain in FIXED_CHAINS.get(table, ())
