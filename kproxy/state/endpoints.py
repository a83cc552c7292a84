"""EndpointSlices, parsed one by one and merged by Service: per port the endpoints, each once, sorted by "ip:port".

Behaviour: kube-proxy's EndpointSlice cache. An endpoint in several slices collapses to one; a duplicate on this
node wins, then one that is ready, then one that serves, then the slice that is first by name, so that the result
does not depend on the order of events (kube-proxy leaves the last two open).
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

import msgspec

from kproxy.errors import one_line
from kproxy.state.addresses import Family, parse_ip, with_port
from kproxy.state.service import LABEL_HEADLESS, LABEL_PROXY_NAME, PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kproxy.kube import wire

LABEL_SERVICE_NAME = "kubernetes.io/service-name"


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One endpoint of a service port. `address` is "ip:port", its identity; hints are names of zones and nodes."""

    address: str
    ip: str
    port: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    local: bool = False
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()

    @property
    def usable_as_last_resort(self) -> bool:
        """Serving while terminating: used where no ready endpoint is left (KEP-1669)."""
        return self.serving and self.terminating


PortKey = tuple[str, str]
"""(port name, protocol): how a Service port and a slice port find each other."""

EndpointsByPort = dict[PortKey, tuple[Endpoint, ...]]


def service_of(slice_: wire.EndpointSlice) -> str | None:
    """Return "namespace/name" of the Service a slice belongs to; None for a slice that is not for this proxy."""
    labels = slice_.metadata.labels or {}
    service = labels.get(LABEL_SERVICE_NAME)
    if not service or LABEL_PROXY_NAME in labels or LABEL_HEADLESS in labels:
        return None
    return f"{slice_.metadata.namespace or 'default'}/{service}"


class ParsedSlice(msgspec.Struct, frozen=True, gc=False):
    """What planning needs of a slice; the object itself need not be kept.

    `family` is None for a slice that is not for a proxy (FQDN). `ports` has each port once, with its endpoints sorted.
    `warnings` has a line for each part that was ignored. `mirrored` tells that it was itself made from Endpoints.
    """

    family: Family | None
    ports: tuple[tuple[PortKey, tuple[Endpoint, ...]], ...] = ()
    warnings: tuple[str, ...] = ()
    mirrored: bool = False


def parse_slice(slice_: wire.EndpointSlice, node_name: str, *, mirrored: bool = False) -> ParsedSlice:
    """Parse a slice as the node of that name sees it."""
    if slice_.address_type not in ("IPv4", "IPv6"):
        return ParsedSlice(None, mirrored=mirrored)
    warnings: list[str] = []
    endpoints = list(_addresses(slice_, warnings))
    by_port: EndpointsByPort = {}
    for key, number in _ports(slice_, warnings):
        made = [_endpoint(ip, number, endpoint, node_name) for ip, endpoint in endpoints]
        by_port[key] = _merged((*by_port.get(key, ()), *made))
    return ParsedSlice(Family(slice_.address_type), tuple(by_port.items()), tuple(warnings), mirrored)


def merge_slices(slices: Mapping[str, ParsedSlice], family: Family) -> EndpointsByPort:
    """Merge all slices of one Service (by slice name): the endpoints of a family."""
    found: EndpointsByPort = {}
    for name in sorted(slices):
        if slices[name].family is family:
            for key, endpoints in slices[name].ports:
                held = found.get(key)
                found[key] = _merged((*held, *endpoints)) if held else endpoints
    return found


def _merged(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    by_address = {endpoint.address: endpoint for endpoint in endpoints}
    if len(by_address) < len(endpoints):
        for endpoint in reversed(endpoints):
            if _rank(endpoint) >= _rank(by_address[endpoint.address]):
                by_address[endpoint.address] = endpoint
    return tuple([by_address[address] for address in sorted(by_address)])


def _ports(slice_: wire.EndpointSlice, warnings: list[str]) -> Iterable[tuple[PortKey, int]]:
    for index, port in enumerate(slice_.ports or ()):
        protocol = port.protocol or "TCP"
        if not port.port or not 1 <= port.port <= 65535 or protocol not in PROTOCOLS:
            warnings.append(f"EndpointSlice {one_line(slice_.metadata.name)}: ports[{index}]: no usable port; ignored")
            continue
        # An absent name is "", as the API server's defaulting makes it.
        yield (intern(port.name or ""), intern(protocol)), port.port


def _addresses(slice_: wire.EndpointSlice, warnings: list[str]) -> Iterable[tuple[str, wire.Endpoint]]:
    for index, endpoint in enumerate(slice_.endpoints or ()):
        try:
            family, ip = parse_ip((endpoint.addresses or [""])[0])
        except ValueError:
            family, ip = None, ""
        if family != slice_.address_type:
            warnings.append(
                f"EndpointSlice {one_line(slice_.metadata.name)}: endpoints[{index}].addresses[0]: "
                f"not an {slice_.address_type} address; ignored"
            )
            continue
        yield ip, endpoint


def _endpoint(ip: str, port: int, endpoint: wire.Endpoint, node_name: str) -> Endpoint:
    local = bool(node_name) and endpoint.node_name == node_name
    ready, serving, terminating = True, True, False
    conditions, hints = endpoint.conditions, endpoint.hints
    if conditions is not None:
        ready, serving = conditions.ready is not False, conditions.serving is not False
        terminating = conditions.terminating is True
    if hints is None:
        return Endpoint(with_port(ip, port), ip, port, ready, serving, terminating, local)
    zones = tuple(intern(hint.name) for hint in hints.for_zones or ())
    nodes = tuple(intern(hint.name) for hint in hints.for_nodes or ())
    return Endpoint(with_port(ip, port), ip, port, ready, serving, terminating, local, zones, nodes)


def _rank(endpoint: Endpoint) -> tuple[bool, bool, bool]:
    return (endpoint.local, endpoint.ready, endpoint.serving)
