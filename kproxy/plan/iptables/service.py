"""The rules of one service port.

The chains are kube-proxy's, with one change: the rules that choose an endpoint also translate the address, so there
is no chain per endpoint (KUBE-SEP-...). That makes a fifth of the chains and half of the rules, which is what
loading and changing them costs. What an endpoint's chain did besides is done elsewhere: hairpin traffic is
recognised once, in KUBE-POSTROUTING, and affinity is part of the rule. See docs/decisions/0002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.intent import FrontendKind, PortIntent, Verdict
from kproxy.plan.iptables import names
from kproxy.plan.iptables.rule import comment, from_local, frontend_match, not_from_local, reject
from kproxy.plan.local_traffic import LocalTraffic
from kproxy.state.addresses import cidr_contains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.state.endpoints import Endpoint

MARK_MASQUERADE = "-j KUBE-MARK-MASQ"


class RenderOptions(msgspec.Struct, frozen=True):
    """Settings that shape the rules of every Service of one family.

    `node_ip` is the node's address (source ranges that hold it let the VIPs in). Without `comments` the rules of the
    per-service chains go unnamed, as kube-proxy does in big clusters.
    """

    local: LocalTraffic = LocalTraffic()
    masquerade_all: bool = False
    node_ip: str = ""
    comments: bool = True


class PortRules(msgspec.Struct):
    """What one service port adds.

    `chains` are whole nat chains. The rest are single rules for shared chains: `addresses` (IP, rule) and
    `node_ports` (port, rule) for nat dispatch, then the filter table's KUBE-SERVICES, KUBE-EXTERNAL-SERVICES and
    KUBE-PROXY-FIREWALL. `hairpins` are endpoint IPs that may meet themselves.
    """

    protocol: str
    hairpins: tuple[str, ...]
    chains: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    addresses: tuple[tuple[str, str], ...] = ()
    node_ports: tuple[tuple[int, str], ...] = ()
    filter_services: tuple[str, ...] = ()
    filter_external: tuple[str, ...] = ()
    filter_firewall: tuple[str, ...] = ()


def port_rules(intent: PortIntent, options: RenderOptions) -> PortRules:
    """Render one intent."""
    return _PortRenderer(intent, options).render()


class _PortRenderer:
    def __init__(self, intent: PortIntent, options: RenderOptions) -> None:
        self.intent = intent
        self.options = options
        self.port = port = intent.port
        self.name = str(port.name)
        digest = names.port_hash(port.name)
        self.cluster = names.CLUSTER_PREFIX + digest
        self.local = names.LOCAL_PREFIX + digest
        self.external = names.EXTERNAL_PREFIX + digest
        self.firewall = names.FIREWALL_PREFIX + digest
        hairpins = tuple(dict.fromkeys(endpoint.ip for endpoint in intent.selection.reachable))
        self.out = PortRules(port.protocol, hairpins)

    def render(self) -> PortRules:
        """Return the rules, in kube-proxy's order of emission."""
        self._cluster_ip()
        for frontend in self.intent.external_frontends():
            if frontend.kind is FrontendKind.NODE_PORT:
                self._node_port(frontend.port)
            else:
                self._external_address(frontend.kind, frontend.ip)
        self._chains()
        return self.out

    def _cluster_ip(self) -> None:
        intent, port = self.intent, self.port
        if intent.internal is Verdict.FORWARD:
            chain = self.local if port.internal_local else self.cluster
            rule = f"{comment(f'{self.name} {FrontendKind.CLUSTER_IP}')} {self._match(port.cluster_ip)} -j {chain}"
            self.out.addresses += ((port.cluster_ip, rule),)
        else:
            self.out.filter_services += (self._refusal(intent.internal, intent.internal_reason, port.cluster_ip),)

    def _external_address(self, kind: FrontendKind, ip: str) -> None:
        intent = self.intent
        if intent.forwards_external:
            walled = kind is FrontendKind.LOAD_BALANCER and intent.firewalled
            chain = self.firewall if walled else self.external
            rule = f"{comment(f'{self.name} {kind}')} {self._match(ip)} -j {chain}"
            self.out.addresses += ((ip, rule),)
            if walled:
                why = comment(f"{self.name} traffic not accepted by {self.firewall}")
                self.out.filter_firewall += (f"{why} {self._match(ip)} -j DROP",)
        if intent.external is not Verdict.FORWARD:
            self.out.filter_external += (self._refusal(intent.external, intent.external_reason, ip),)

    def _node_port(self, number: int) -> None:
        intent, protocol = self.intent, self.port.protocol
        match = frontend_match(protocol, "", number)
        if intent.forwards_external:
            self.out.node_ports += ((number, f"{comment(self.name)} {match} -j {self.external}"),)
        if intent.external is not Verdict.FORWARD:
            why = comment(f"{self.name} {intent.external_reason}")
            target = self._target(intent.external)
            self.out.filter_external += (f"{why} -m addrtype --dst-type LOCAL {match} {target}",)

    def _chains(self) -> None:
        intent, port, selection = self.intent, self.port, self.intent.selection
        masquerade = tuple(self._internal_masquerade())
        if selection.cluster and port.uses_cluster_endpoints:
            first = () if port.internal_local else masquerade
            self.out.chains[self.cluster] = (*first, *self._balance(selection.cluster))
        if selection.local and port.uses_local_endpoints:
            first = masquerade if port.internal_local else ()
            self.out.chains[self.local] = (*first, *self._balance(selection.local))
        if intent.forwards_external:
            self.out.chains[self.external] = tuple(self._external_chain())
            if intent.firewalled and port.load_balancer_vips:
                self.out.chains[self.firewall] = tuple(self._firewall_chain())

    def _internal_masquerade(self) -> Iterator[str]:
        """Mark what is sent to the clusterIP from elsewhere.

        The match on the clusterIP matters: the same chain is reached from KUBE-EXT, which decides for itself.
        """
        if self.intent.internal is not Verdict.FORWARD:
            return
        options = self.options
        match = f"{comment(f'{self.name} {FrontendKind.CLUSTER_IP}')} {self._match(self.port.cluster_ip)}"
        if options.masquerade_all:
            yield f"{match} {MARK_MASQUERADE}"
        elif options.local:
            yield f"{match} {not_from_local(options.local)} {MARK_MASQUERADE}"

    def _external_chain(self) -> Iterator[str]:
        intent, port, local = self.intent, self.port, self.options.local
        what = f"{self.name} external destinations"
        if not port.external_local:
            yield f"{comment(f'masquerade traffic for {what}')} {MARK_MASQUERADE}"
        else:
            if local:
                yield f"{comment(f'pod traffic for {what}')} {from_local(local)} -j {self.cluster}"
            from_node = "-m addrtype --src-type LOCAL"
            yield f"{comment(f'masquerade LOCAL traffic for {what}')} {from_node} {MARK_MASQUERADE}"
            yield f"{comment(f'route LOCAL traffic for {what}')} {from_node} -j {self.cluster}"
        if intent.external is Verdict.FORWARD:
            yield f"-j {self.local if port.external_local else self.cluster}"

    def _firewall_chain(self) -> Iterator[str]:
        port, node_ip = self.port, self.options.node_ip
        why = comment(f"{self.name} loadbalancer IP")
        for cidr in port.source_ranges:
            yield f"{why} -s {cidr} -j {self.external}"
        if node_ip and any(cidr_contains(cidr, node_ip) for cidr in port.source_ranges):
            # A node that has the VIP bound sends from it.
            for vip in port.load_balancer_vips:
                yield f"{why} -s {vip} -j {self.external}"
        yield comment(f"other traffic to {self.name} will be dropped by KUBE-PROXY-FIREWALL")

    def _balance(self, endpoints: tuple[Endpoint, ...]) -> Iterator[str]:
        """Choose an endpoint with equal probability and translate to it; a client that is pinned goes there first."""
        port, count = self.port, len(endpoints)
        proto = port.protocol.lower()
        prefix = f"{comment(self.name)} " if self.options.comments else ""
        seconds = port.affinity_seconds
        lists = {}
        if seconds is not None:
            for endpoint in endpoints:
                lists[endpoint.address] = names.endpoint_name(port.name, endpoint.address)
                # --update is kube-proxy's --rcheck followed by its --set: the pin is renewed by every connection.
                pinned = f"-m recent --name {lists[endpoint.address]} --update --seconds {seconds} --reap"
                yield f"{prefix}{pinned} -p {proto} -j DNAT --to-destination {endpoint.address}"
        for index, endpoint in enumerate(endpoints):
            chance = ""
            if index < count - 1:
                chance = f"-m statistic --mode random --probability {1 / (count - index):.10f} "
            learn = f"-m recent --name {lists[endpoint.address]} --set " if lists else ""
            yield f"{prefix}{chance}{learn}-p {proto} -j DNAT --to-destination {endpoint.address}"

    def _match(self, ip: str) -> str:
        return frontend_match(self.port.protocol, ip, self.port.port)

    def _refusal(self, verdict: Verdict, reason: object, ip: str) -> str:
        return f"{comment(f'{self.name} {reason}')} {self._match(ip)} {self._target(verdict)}"

    def _target(self, verdict: Verdict) -> str:
        return reject(self.port.protocol) if verdict is Verdict.REJECT else "-j DROP"
