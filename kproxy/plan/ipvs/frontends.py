"""What a service port is in IPVS: one virtual server for each of its addresses, with the endpoints it sends to.

IPVS has one list of destinations per address and port. The list that pods and the node itself are sent to past a Local
policy (the short cut) is not among them: those packets are translated before IPVS sees them (`kproxy.plan.ipvs.nat`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.intent import FrontendKind, Verdict
from kproxy.plan.ipvs.scheduling import scheduling
from kproxy.plan.ipvs.server import Destination, Scheduling, VirtualServer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from kproxy.plan.intent import PortIntent
    from kproxy.state.endpoints import Endpoint

FIELDS = {
    FrontendKind.CLUSTER_IP: "spec.clusterIP",
    FrontendKind.EXTERNAL_IP: "spec.externalIPs",
    FrontendKind.LOAD_BALANCER: "status.loadBalancer.ingress[].ip",
}


class IpvsSettings(msgspec.Struct, frozen=True):
    """What shapes the virtual servers of one family besides the Services.

    `node_ips` are the addresses of the Node object, which no Service may have; `node_port_ips` those on which node
    ports are served.
    """

    scheduler: str
    node_ips: tuple[str, ...] = ()
    node_port_ips: tuple[str, ...] = ()


class IpvsFrontend(msgspec.Struct, frozen=True, gc=False):
    """One virtual server. Its address is a VIP (to be had by the node), or one the node has (`kind` is node port).

    `lingering` are endpoints that serve but get no new connections: those that terminate while others are ready. Only
    for protocols that have no graceful removal of their own (see `kproxy.plan.ipvs.drain`).
    """

    server: VirtualServer
    kind: FrontendKind
    scheduling: Scheduling
    destinations: tuple[Destination, ...]
    lingering: tuple[Destination, ...] = ()

    @property
    def vip(self) -> str:
        """The address that the node must have for it; empty for a node port."""
        return "" if self.kind is FrontendKind.NODE_PORT else self.server.ip


def frontends(intent: PortIntent, settings: IpvsSettings) -> Iterator[IpvsFrontend]:
    """Yield the virtual servers of a service port, those of `taken_addresses` left out.

    One whose new connections are refused or dropped has no destinations, but is there: connections to endpoints that
    left may still be open.
    """
    port = intent.port
    how = scheduling(port, settings.scheduler)
    serving = tuple(endpoint for endpoint in intent.endpoints if endpoint.serving) if port.protocol != "TCP" else ()
    endpoints = intent.internal_endpoints if intent.internal is Verdict.FORWARD else ()
    if port.cluster_ip not in settings.node_ips:
        server = VirtualServer(port.cluster_ip, port.protocol, port.port)
        yield _frontend(FrontendKind.CLUSTER_IP, server, how, endpoints, serving)
    endpoints = intent.external_endpoints if intent.external is Verdict.FORWARD else ()
    for frontend in intent.external_frontends():
        ips: Collection[str] = (frontend.ip,) if frontend.ip not in settings.node_ips else ()
        if frontend.kind is FrontendKind.NODE_PORT:
            ips = settings.node_port_ips
        for ip in ips:
            server = VirtualServer(ip, port.protocol, frontend.port)
            yield _frontend(frontend.kind, server, how, endpoints, serving)


def taken_addresses(intent: PortIntent, node_ips: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (address, field) for every VIP of a service port that is an address of the Node itself.

    The node would have to take that address for a VIP, whose other ports are closed: the node would be cut off
    (kubernetes#93175). So such an address is not served, and the Service is named.
    """
    port = intent.port
    if port.cluster_ip in node_ips:
        yield port.cluster_ip, FIELDS[FrontendKind.CLUSTER_IP]
    for frontend in intent.external_frontends():
        if frontend.ip in node_ips:
            yield frontend.ip, FIELDS[frontend.kind]


def served(intent: PortIntent, node_ips: Collection[str]) -> PortIntent:
    """Return the intent without the external addresses that are the Node's: they are not the Service's business."""
    port = intent.port
    if not any(frontend.ip in node_ips for frontend in intent.external_frontends()):
        return intent
    external, balanced = (
        tuple(ip for ip in ips if ip not in node_ips) for ips in (port.external_ips, port.load_balancer_vips)
    )
    without = msgspec.structs.replace(port, external_ips=external, load_balancer_vips=balanced)
    return msgspec.structs.replace(intent, port=without)


def _frontend(
    kind: FrontendKind,
    server: VirtualServer,
    how: Scheduling,
    endpoints: tuple[Endpoint, ...],
    serving: tuple[Endpoint, ...],
) -> IpvsFrontend:
    destinations = tuple(Destination(server, endpoint.ip, endpoint.port) for endpoint in endpoints)
    if len(serving) <= len(endpoints):
        return IpvsFrontend(server, kind, how, destinations)
    others = (Destination(server, endpoint.ip, endpoint.port) for endpoint in serving if endpoint not in endpoints)
    return IpvsFrontend(server, kind, how, destinations, tuple(others))
