"""What a service port adds to the packet filter: refusals, source ranges, known clusterIPs, hairpins.

It knows nothing of how packets get to an endpoint, so other modes can use it.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.intent import Verdict
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.expressions import Verdict as RuleVerdict
from kproxy.plan.nftables.model import commented, verdict_value
from kproxy.plan.nftables.packing import pack_frontend, pack_interval, pack_ip
from kproxy.state.addresses import cidr_contains

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.plan.intent import PortIntent

VERDICTS = {Verdict.REJECT: RuleVerdict("goto", layout.REFUSE), Verdict.DROP: RuleVerdict("drop")}


class Element(NamedTuple):
    """An element of a set or map. Where `shared`, several ports may want it, and it goes with the last of them."""

    set: str
    key: bytes
    value: bytes = b""
    shared: bool = False


def filter_elements(intent: PortIntent, node_ip: str) -> Iterator[Element]:
    """Yield what one service port adds. `node_ip` is the node's address in the port's family, "" if unknown."""
    port, name = intent.port, str(intent.port.name)
    yield Element(layout.CLUSTER_IPS, pack_ip(port.cluster_ip), shared=True)
    if intent.internal is not Verdict.FORWARD:
        key = pack_frontend(port.cluster_ip, port.protocol, port.port)
        yield Element(layout.NO_ENDPOINTS, key, verdict_value(VERDICTS[intent.internal], name))
    if intent.external is not Verdict.FORWARD:
        refusal = verdict_value(VERDICTS[intent.external], name)
        for frontend in intent.external_frontends():
            where = layout.NO_ENDPOINTS if frontend.ip else layout.NO_ENDPOINT_NODE_PORTS
            yield Element(where, pack_frontend(frontend.ip, port.protocol, frontend.port), refusal)
    if intent.firewalled:
        yield from _source_ranges(intent, node_ip)
    yield from _hairpins(intent)


def _source_ranges(intent: PortIntent, node_ip: str) -> Iterator[Element]:
    port = intent.port
    ranges = port.source_ranges
    if node_ip and any(cidr_contains(cidr, node_ip) for cidr in ranges):
        # A node that has the VIP bound sends from it.
        ranges = (*ranges, *port.load_balancer_vips)
    allowed = _without_overlaps(ranges)
    named = commented(b"", str(port.name))
    for vip in port.load_balancer_vips:
        key = pack_frontend(vip, port.protocol, port.port)
        yield Element(layout.FIREWALLED, key, named)
        for cidr in allowed:
            yield Element(layout.SOURCE_RANGES, pack_interval(key, cidr))


def _without_overlaps(ranges: Iterable[str]) -> list[str]:
    """Return the ranges joined where they overlap or meet: an interval set takes no interval twice."""
    networks = [ipaddress.ip_network(cidr) for cidr in ranges]
    return [str(network) for network in ipaddress.collapse_addresses(networks)]  # type: ignore[type-var]


def _hairpins(intent: PortIntent) -> Iterator[Element]:
    """Yield the endpoints that may meet themselves.

    Those on this node; and where pods are sent to remote endpoints with their own address (the short cut past a Local
    policy), those as well, since a remote pod can come by this node.
    """
    everyone = intent.short_circuit and intent.port.externally_accessible
    for endpoint in intent.selection.reachable:
        if endpoint.local or everyone:
            packed = pack_ip(endpoint.ip)
            yield Element(layout.HAIRPINS, packed + packed, shared=True)
