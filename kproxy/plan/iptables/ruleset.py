"""The whole ruleset of one family: Services in, chains that differ from the kernel's out.

The fixed chains come from the rule book, the rest from `service.py`. Chains that many Services share (dispatch,
refusals) are put together here; dispatch is a tree (`dispatch.py`), so one changed Service rewrites a few small
chains whatever the size of the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.delta import UNKNOWN, DeltaTracker
from kproxy.plan.iptables import names
from kproxy.plan.iptables.dispatch import address_key, address_tree, port_tree
from kproxy.plan.iptables.restore import ChainKey, Restore, Rules, SavedTable, missing_jumps, restore
from kproxy.plan.iptables.rule import comment, frontend_match
from kproxy.plan.iptables.service import MARK_MASQUERADE, PortRules, RenderOptions, port_rules
from kproxy.plan.iptables.skeleton import TABLES, TableSkeleton
from kproxy.state.addresses import Family
from kproxy.state.service import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.iptables.dispatch import DispatchTree

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

NODE_PORT_TAIL = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"


class NodePortDispatch(msgspec.Struct, frozen=True):
    """Where node ports are open: on every local address (`all`), or on the listed ones.

    `localhost` opens 127.0.0.1 too (never ::1: there is no route_localnet for IPv6).
    """

    all: bool = True
    addresses: tuple[str, ...] = ()
    localhost: bool = True

    def rules(self, family: Family) -> Rules:
        """Return the last rules of the nat table's KUBE-SERVICES."""
        why = comment(NODE_PORT_TAIL)
        loopback = "127.0.0.0/8" if family is Family.IPV4 else "::1/128"
        closed = family is Family.IPV6 or not self.localhost
        if self.all:
            spare = f" ! -d {loopback}" if closed else ""
            return (f"{why}{spare} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",)
        return tuple(
            f"{why} -d {ip} -j KUBE-NODEPORTS"
            for ip in self.addresses
            if not (closed and (ip.startswith("127.") or ip == "::1"))
        )


class _Service(msgspec.Struct):
    intents: tuple[PortIntent, ...]
    health_check_node_port: int
    rules: list[PortRules]


class IptablesRuleset:
    """Desired chains of one family, and the difference to what the kernel holds."""

    def __init__(self, family: Family, skeleton: Mapping[str, TableSkeleton]) -> None:
        self.family = family
        self._skeleton = skeleton
        self._options = RenderOptions()
        self._tail: Rules = NodePortDispatch().rules(family)
        self._services: dict[str, _Service] = {}
        self._endpoints = 0
        self._commented = True
        self._addresses = address_tree(family, "-d")
        self._hairpins = address_tree(family, "-s", label="H-")
        self._ports = {protocol: port_tree(protocol) for protocol in PROTOCOLS}
        self._branches: dict[str, dict[str, Rules]] = {}
        self._tracker: DeltaTracker[ChainKey, Rules] = DeltaTracker()
        self._missing_jumps = {table: list(skeleton[table].jumps) for table in TABLES}
        for table in TABLES:
            for chain, rules in skeleton[table].chains.items():
                self._tracker.want((table, chain), rules)

    @property
    def chains(self) -> Mapping[ChainKey, Rules]:
        """All wanted chains with their rules, as of the last `difference`."""
        return self._tracker.desired

    def configure(self, options: RenderOptions, node_ports: NodePortDispatch) -> None:
        """Set what shapes every Service's rules; renders all of them again if it changed."""
        self._tail = node_ports.rules(self.family)
        if options != self._options:
            self._options = options
            self._render_all()

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int = 0) -> None:
        """Enter or replace one Service ("namespace/name"); without intents and health check it goes."""
        intents = tuple(intents)
        self._forget(key)
        if intents or health_check_node_port:
            self._services[key] = service = _Service(intents, health_check_node_port, [])
            self._endpoints += sum(len(intent.endpoints) for intent in intents)
            self._render(key, service)

    def difference(self) -> tuple[Restore, dict[ChainKey, Rules], list[ChainKey]]:
        """Return the restore that makes the kernel hold what is wanted, and its updates and deletions.

        Pass the last two to `applied` when it succeeded.
        """
        commented = self._endpoints <= LARGE_CLUSTER_ENDPOINTS
        if commented != self._commented:
            self._commented = commented
            self._render_all()
        self._assemble()
        updates = self._tracker.updates()
        deletions = self._tracker.deletions()
        return restore(updates, deletions, self._missing_jumps), updates, deletions

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

    def _render_all(self) -> None:
        for key, service in self._services.items():
            self._withdraw(key, service)
            self._render(key, service)

    def _render(self, key: str, service: _Service) -> None:
        options = msgspec.structs.replace(self._options, comments=self._commented)
        service.rules = [port_rules(intent, options) for intent in service.intents]
        for rules in service.rules:
            for chain, content in rules.chains.items():
                self._tracker.want(("nat", chain), content)
        self._dispatch(key, service.rules)

    def _withdraw(self, key: str, service: _Service) -> None:
        for rules in service.rules:
            for chain in rules.chains:
                self._tracker.unwant(("nat", chain))
            for ip, _ in rules.addresses:
                self._addresses.put(address_key(ip), key, ())
            for ip in rules.hairpins:
                self._hairpins.put(address_key(ip), key, ())
        for intent in service.intents:
            if intent.port.node_port:
                self._ports[intent.port.protocol].put(intent.port.node_port, key, ())

    def _forget(self, key: str) -> None:
        service = self._services.pop(key, None)
        if service is not None:
            self._endpoints -= sum(len(intent.endpoints) for intent in service.intents)
            self._withdraw(key, service)

    def _dispatch(self, key: str, all_rules: list[PortRules]) -> None:
        by_address: dict[str, list[str]] = {}
        by_port: dict[tuple[str, int], list[str]] = {}
        for intent, rules in zip(self._services[key].intents, all_rules, strict=True):
            for ip, rule in rules.addresses:
                by_address.setdefault(ip, []).append(rule)
            for number, rule in rules.node_ports:
                by_port.setdefault((intent.port.protocol, number), []).append(rule)
            for ip in rules.hairpins:
                self._hairpins.put(address_key(ip), key, (f"-s {ip} -d {ip} {MARK_MASQUERADE}",))
        for ip, lines in by_address.items():
            self._addresses.put(address_key(ip), key, tuple(lines))
        for (protocol, number), lines in by_port.items():
            self._ports[protocol].put(number, key, tuple(lines))

    def _assemble(self) -> None:
        """Put the chains together that Services share."""
        nat_services = self._grow("addresses", self._addresses)
        self._want_fixed("nat", "KUBE-SERVICES", (*nat_services, *self._tail))
        self._want_fixed("nat", "KUBE-SVC-HAIRPIN", self._grow("hairpins", self._hairpins))
        ports = [rule for protocol, tree in self._ports.items() for rule in self._grow(protocol, tree)]
        self._want_fixed("nat", "KUBE-NODEPORTS", tuple(ports))
        services: list[str] = []
        external: list[str] = []
        firewall: list[str] = []
        health: list[str] = []
        for key in sorted(self._services):
            service = self._services[key]
            for rules in service.rules:
                services += rules.filter_services
                external += rules.filter_external
                firewall += rules.filter_firewall
            if service.health_check_node_port:
                match = frontend_match("TCP", "", service.health_check_node_port)
                health.append(f"{comment(f'{key} health check node port')} {match} -j ACCEPT")
        self._want_fixed("filter", "KUBE-SERVICES", tuple(services))
        self._want_fixed("filter", "KUBE-EXTERNAL-SERVICES", tuple(external))
        self._want_fixed("filter", "KUBE-PROXY-FIREWALL", tuple(firewall))
        self._want_fixed("filter", "KUBE-NODEPORTS", tuple(health))

    def _want_fixed(self, table: str, chain: str, rules: Rules) -> None:
        if self._tracker.desired.get((table, chain)) != rules:
            self._tracker.want((table, chain), rules)

    def _grow(self, name: str, tree: DispatchTree) -> Rules:
        """Bring the branches of a tree into the tracker; return the rules of its root."""
        root, branches = tree.render()
        before = self._branches.get(name, {})
        for chain, rules in branches.items():
            if before.get(chain) != rules:
                self._tracker.want(("nat", chain), rules)
        for chain in before.keys() - branches.keys():
            self._tracker.unwant(("nat", chain))
        self._branches[name] = branches
        return root


def owned(table: str, chain: str) -> bool:
    """Tell whether a chain belongs to kproxy (or kube-proxy, whose place it takes) by its name alone."""
    if table == "nat" and chain.startswith(names.PER_SERVICE_PREFIXES):
        return True
    return chain in FIXED_CHAINS.get(table, ())
