"""Kubernetes objects for tests, as in a manifest: keyword arguments carry the API's own field names and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from kproxy.kube import wire
from kproxy.sources.changes import Change
from kproxy.state.addresses import FAMILIES
from kproxy.state.endpoints import merge_slices, parse_slice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kproxy.state.addresses import Family
    from kproxy.state.endpoints import EndpointsByPort

NODE = "node-a"
OTHER_NODE = "node-b"

SERVICE_NAME = "kubernetes.io/service-name"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"

#: A port without a name, the shortest that can be written.
PORT = {"port": 80}


def _meta(key: str, **more: Any) -> dict[str, Any]:
    namespace, _, name = key.rpartition("/")
    return {
        "name": name,
        "namespace": namespace,
        **{field: value for field, value in more.items() if value is not None},
    }


def service(
    key: str = "ns1/svc1",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    created: str | None = None,
    ingress: Sequence[Mapping[str, Any]] | None = None,
    ips: Sequence[str] = (),
    **spec: Any,
) -> wire.Service:
    """A Service with clusterIP 172.30.0.41 and port 80, unless `spec` says otherwise.

    `ips` sets clusterIP, clusterIPs and ipFamilies together, as the API server does; `ingress` is that of
    status.loadBalancer.
    """
    if ips:
        families = ["IPv6" if ":" in ip else "IPv4" for ip in ips]
        spec = {"clusterIP": ips[0], "clusterIPs": list(ips), "ipFamilies": families, **spec}
    data: dict[str, Any] = {
        "metadata": _meta(key, labels=labels, annotations=annotations, creationTimestamp=created),
        "spec": {"clusterIP": "172.30.0.41", "ports": [PORT], **spec},
    }
    if ingress is not None:
        data["status"] = {"loadBalancer": {"ingress": list(ingress)}}
    return msgspec.convert(data, wire.Service)


def endpoint(
    *addresses: str,
    node: str | None = None,
    zones: Sequence[str] = (),
    nodes: Sequence[str] = (),
    **conditions: bool,
) -> dict[str, Any]:
    """One of a slice's endpoints; `zones` and `nodes` are hints, `conditions` ready, serving, terminating."""
    made: dict[str, Any] = {"addresses": list(addresses)}
    if node is not None:
        made["nodeName"] = node
    if conditions:
        made["conditions"] = conditions
    if zones or nodes:
        made["hints"] = {"forZones": [{"name": name} for name in zones], "forNodes": [{"name": name} for name in nodes]}
    return made


def endpoint_slice(
    name: str,
    endpoints: Sequence[Mapping[str, Any]] = (),
    *,
    of: str = "ns1/svc1",
    family: str = "IPv4",
    ports: Sequence[Mapping[str, Any]] | None = ({"name": "", "port": 8080, "protocol": "TCP"},),
    labels: Mapping[str, str] | None = None,
) -> wire.EndpointSlice:
    """An EndpointSlice of the Service `of`."""
    namespace, _, svc = of.rpartition("/")
    data = {
        "metadata": _meta(f"{namespace}/{name}", labels={SERVICE_NAME: svc, **(labels or {})}),
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": None if ports is None else list(ports),
    }
    return msgspec.convert(data, wire.EndpointSlice)


def endpoints_object(
    subsets: Sequence[Mapping[str, Any]],
    key: str = "ns1/svc1",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> wire.Endpoints:
    """An object of the old Endpoints API."""
    data = {"metadata": _meta(key, labels=labels, annotations=annotations), "subsets": list(subsets)}
    return msgspec.convert(data, wire.Endpoints)


def node(
    name: str = NODE,
    *,
    labels: Mapping[str, str] | None = None,
    deleting: str | None = None,
    addresses: Sequence[tuple[str, str]] = (),
    **spec: Any,
) -> wire.Node:
    """A Node; `addresses` are (type, address)."""
    data = {
        "metadata": {"name": name, **({"labels": labels} if labels else {})}
        | ({"deletionTimestamp": deleting} if deleting else {}),
        "spec": spec,
        "status": {"addresses": [{"type": kind, "address": address} for kind, address in addresses]},
    }
    return msgspec.convert(data, wire.Node)


def here(obj: wire.KubeObject) -> Change:
    """The news that an object is there, as it is now."""
    return Change(type(obj).__name__, wire.namespaced_name(obj), obj)


def gone(obj: wire.KubeObject) -> Change:
    """The news that an object is gone."""
    return Change(type(obj).__name__, wire.namespaced_name(obj), None)


def merged(
    slices: Mapping[str, wire.EndpointSlice], node: str = NODE
) -> tuple[dict[Family, EndpointsByPort], list[str]]:
    """The endpoints of all slices of one Service per family, and what was ignored."""
    parsed = {name: parse_slice(slice_, node) for name, slice_ in slices.items()}
    families = {slice_.family for slice_ in parsed.values()} - {None}
    warnings = [line for name in sorted(parsed) for line in parsed[name].warnings]
    return {family: merge_slices(parsed, family) for family in FAMILIES if family in families}, warnings
