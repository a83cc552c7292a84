"""EndpointSlices of one Service, merged: per port and family the endpoints, each once, sorted by "ip:port".

Behaviour: kube-proxy's EndpointSlice cache. An endpoint in several slices collapses to one; a duplicate on this
node wins, then one that is ready, then one that serves, then the slice that is first by name, so that the result
does not depend on the order of events (kube-proxy leaves the last two open).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.errors import one_line
from kproxy.state.addresses import Family, parse_ip, with_port
from kproxy.state.service import LABEL_HEADLESS, LABEL_PROXY_NAME, PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    node_name: str = ""
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


def merge_slices(
    slices: Mapping[str, wire.EndpointSlice], node_name: str
) -> tuple[dict[Family, EndpointsByPort], list[str]]:
    """Merge all slices of one Service (by slice name).

    Returns the endpoints per family and port, and a line for each part that was ignored.
    """
    found: dict[Family, dict[PortKey, dict[str, Endpoint]]] = {}
    warnings: list[str] = []
    for slice_name in sorted(slices):
        slice_ = slices[slice_name]
        if slice_.address_type not in ("IPv4", "IPv6"):
            continue  # FQDN slices are not for a proxy
        by_port = found.setdefault(Family(slice_.address_type), {})
        endpoints = list(_addresses(slice_, warnings))
        for key, number in _ports(slice_, warnings):
            held = by_port.setdefault(key, {})
            for ip, endpoint in endpoints:
                made = _endpoint(ip, number, endpoint, node_name)
                other = held.get(made.address)
                if other is None or _rank(made) > _rank(other):
                    held[made.address] = made
    merged = {
        family: {key: tuple(held[address] for address in sorted(held)) for key, held in by_port.items()}
        for family, by_port in found.items()
    }
    return merged, warnings


def _ports(slice_: wire.EndpointSlice, warnings: list[str]) -> Iterable[tuple[PortKey, int]]:
    for index, port in enumerate(slice_.ports or ()):
        protocol = port.protocol or "TCP"
        if not port.port or not 1 <= port.port <= 65535 or protocol not in PROTOCOLS:
            warnings.append(f"EndpointSlice {one_line(slice_.metadata.name)}: ports[{index}]: no usable port; ignored")
            continue
        # An absent name is "", as the API server's defaulting makes it.
        yield (port.name or "", protocol), port.port


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
    conditions, hints = endpoint.conditions, endpoint.hints
    return Endpoint(
        address=with_port(ip, port),
        ip=ip,
        port=port,
        ready=conditions is None or conditions.ready is not False,
        serving=conditions is None or conditions.serving is not False,
        terminating=conditions is not None and conditions.terminating is True,
        local=bool(node_name) and endpoint.node_name == node_name,
        node_name=endpoint.node_name or "",
        zone_hints=tuple(hint.name for hint in hints.for_zones or ()) if hints else (),
        node_hints=tuple(hint.name for hint in hints.for_nodes or ()) if hints else (),
    )


def _rank(endpoint: Endpoint) -> tuple[bool, bool, bool]:
    return (endpoint.local, endpoint.ready, endpoint.serving)
