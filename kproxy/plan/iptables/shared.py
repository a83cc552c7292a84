"""The chains that all Services share: dispatch by address and port, refusals, source ranges, hairpin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.iptables.dispatch import address_key, address_tree, port_tree
from kproxy.plan.iptables.rule import comment, frontend_match
from kproxy.plan.iptables.service import MARK_MASQUERADE
from kproxy.state.addresses import Family
from kproxy.state.service import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kproxy.plan.iptables.dispatch import DispatchTree
    from kproxy.plan.iptables.restore import ChainKey, Rules
    from kproxy.plan.iptables.service import PortRules

NODE_PORT_TAIL = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"

HAIRPIN_CHAIN = "KUBE-SVC-HAIRPIN"


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


class _FilterRules(msgspec.Struct):
    """What one Service adds to the filter table's shared chains."""

    services: list[str]
    external: list[str]
    firewall: list[str]
    node_ports: list[str]


class SharedChains:
    """Puts the shared chains together. A change costs what the changed Service adds, not what all of them do."""

    def __init__(self, family: Family) -> None:
        self._addresses = address_tree(family, "-d")
        self._hairpins = address_tree(family, "-s", label="H-", form=_hairpin)
        self._ports = {protocol: port_tree(protocol) for protocol in PROTOCOLS}
        self._filter: dict[str, _FilterRules] = {}

    def set_service(
        self, key: str, before: Iterable[PortRules], ports: Sequence[PortRules], health_check_node_port: int
    ) -> None:
        """Replace what the Service `key` adds: `before` is what it was given the last time."""
        put: dict[tuple[DispatchTree, int], list[str]] = {}
        for place, rule in self._dispatched(ports):
            put.setdefault(place, []).append(rule)
        for tree, number in {place for place, _ in self._dispatched(before)} - put.keys():
            tree.put(number, key, ())
        for (tree, number), rules in put.items():
            tree.put(number, key, tuple(dict.fromkeys(rules)))
        self._set_filter(key, ports, health_check_node_port)

    def chains(self, tail: Rules) -> Iterator[tuple[ChainKey, Rules]]:
        """Yield every shared chain as it is now; `tail` ends the nat table's KUBE-SERVICES."""
        services = self._addresses.render()
        hairpins = self._hairpins.render()
        node_ports = [tree.render() for tree in self._ports.values()]
        yield ("nat", "KUBE-SERVICES"), (*services.root, *tail)
        yield ("nat", HAIRPIN_CHAIN), hairpins.root
        yield ("nat", "KUBE-NODEPORTS"), tuple(rule for tree in node_ports for rule in tree.root)
        for tree in (services, hairpins, *node_ports):
            for chain, rules in tree.branches.items():
                yield ("nat", chain), rules
        filters = [self._filter[key] for key in sorted(self._filter)]
        yield ("filter", "KUBE-SERVICES"), tuple(rule for rules in filters for rule in rules.services)
        yield ("filter", "KUBE-EXTERNAL-SERVICES"), tuple(rule for rules in filters for rule in rules.external)
        yield ("filter", "KUBE-PROXY-FIREWALL"), tuple(rule for rules in filters for rule in rules.firewall)
        yield ("filter", "KUBE-NODEPORTS"), tuple(rule for rules in filters for rule in rules.node_ports)

    def _dispatched(self, ports: Iterable[PortRules]) -> Iterator[tuple[tuple[DispatchTree, int], str]]:
        """Yield tree and key of each rule in a tree, and what is put there."""
        for port in ports:
            for ip, rule in port.addresses:
                yield (self._addresses, address_key(ip)), rule
            for number, rule in port.node_ports:
                yield (self._ports[port.protocol], number), rule
            for ip in port.hairpins:
                yield (self._hairpins, address_key(ip)), ip

    def _set_filter(self, key: str, ports: Iterable[PortRules], health_check_node_port: int) -> None:
        rules = _FilterRules(
            services=[rule for port in ports for rule in port.filter_services],
            external=[rule for port in ports for rule in port.filter_external],
            firewall=[rule for port in ports for rule in port.filter_firewall],
            node_ports=[],
        )
        if health_check_node_port:
            match = frontend_match("TCP", "", health_check_node_port)
            rules.node_ports.append(f"{comment(f'{key} health check node port')} {match} -j ACCEPT")
        if rules.services or rules.external or rules.firewall or rules.node_ports:
            self._filter[key] = rules
        else:
            self._filter.pop(key, None)


def _hairpin(ip: str) -> str:
    """Masquerade what an endpoint sends to itself."""
    return f"-s {ip} -d {ip} {MARK_MASQUERADE}"
