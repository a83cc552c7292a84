"""The cluster of fixtures.py as objects that a real API server takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tests.dns.cluster import service, slice_
from tests.dns.fixtures import HTTP, REVERSE, SHOP, ZONES

if TYPE_CHECKING:
    from kproxy.kube import wire
    from tests.controlplane.https import Api
    from tests.lab.manifests import Object

COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
}
API_VERSIONS = {"Namespace": "v1", "Service": "v1", "EndpointSlice": "discovery.k8s.io/v1"}
#: The control plane's own Service has the first address of the range, and IPv6 has another range than the fixture.
MOVED = {"10.96.0.1": "10.96.0.111", "fd00:96::1": "fd00:10:96::1:1", "fd00:96::3": "fd00:10:96::1:3"}
#: An endpoint that is in two slices, as happens when they are filled anew.
DOUBLE = [
    service("shop/double", "None", on=HTTP),
    slice_("shop/double-1", "double", "10.244.8.1", "10.244.8.2", on=HTTP),
    slice_("shop/double-2", "double", "10.244.8.1", on=HTTP),
]


def cluster_objects() -> list[Object]:
    """Namespaces, Services and slices; of what both fixtures have, the first."""
    found: dict[tuple[str, str], Object] = {}
    for change in (*SHOP, *REVERSE, *ZONES, *DOUBLE):
        if change.kind in COLLECTIONS and change.obj is not None:
            found.setdefault((change.kind, change.key), _object(change.kind, change.obj))
    return list(found.values())


def create(api: Api, objects: list[Object]) -> None:
    for one in objects:
        if one["kind"] == "Namespace" and one["metadata"]["name"] == "kube-system":
            continue
        path = COLLECTIONS[one["kind"]].format(namespace=one["metadata"].get("namespace", ""))
        api.post(path, one).checked()


def _object(kind: str, obj: wire.KubeObject) -> Object:
    made: Object = _without_nulls(msgspec.to_builtins(obj))
    made |= {"apiVersion": API_VERSIONS[kind], "kind": kind}
    if kind == "Namespace":
        del made["metadata"]["namespace"]
    spec: dict[str, Any] = made.get("spec", {})
    if ips := spec.get("clusterIPs"):
        ips = spec["clusterIPs"] = [MOVED.get(ip, ip) for ip in ips]
        spec["clusterIP"] = ips[0]
        if ips[0] != "None":
            spec["ipFamilies"] = ["IPv6" if ":" in ip else "IPv4" for ip in ips]
            spec["ipFamilyPolicy"] = "RequireDualStack" if len(ips) > 1 else "SingleStack"
    return made


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
