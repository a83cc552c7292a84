"""What an API server sends, written out by hand: watch lines, pages of lists, Status objects."""

from __future__ import annotations

import json
from typing import Any


def service(name: str, version: int | str = 1, ip: str = "10.96.0.1", namespace: str = "default") -> dict[str, Any]:
    """A Service as the API server sends it, managedFields and all."""
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": "6f0e8f7c-5a0e-4a34-9e43-9a4f6d6f7b11",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]},
        "status": {"loadBalancer": {}},
    }


def slice_(name: str, version: int | str = 1, address: str = "10.0.0.1") -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": "default",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"port": 8080, "protocol": "TCP"}],
    }


def node(name: str, version: int | str = 1, zone: str = "a") -> dict[str, Any]:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "resourceVersion": str(version),
            "labels": {"topology.kubernetes.io/zone": zone},
        },
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    }


def service_cidr(name: str, *cidrs: str, ready: str = "True") -> dict[str, Any]:
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": name, "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": list(cidrs)},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "", "message": "so"}]},
    }


def line(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}, ensure_ascii=False).encode() + b"\n"


def bookmark(version: int | str, *, end: bool = False, kind: str = "Service") -> bytes:
    """The object of a bookmark has nothing but its kind and metadata."""
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return line("BOOKMARK", {"kind": kind, "apiVersion": "v1", "metadata": meta, "spec": {}, "status": {}})


def status(code: int, reason: str, message: str = "", retry_after: int | None = None) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if retry_after is not None:
        obj["details"] = {"retryAfterSeconds": retry_after}
    return obj


EXPIRED = status(410, "Expired", "too old resource version: 5 (9)")


def page(items: list[dict[str, Any]], version: int | str, token: str = "", kind: str = "Service") -> bytes:
    """A page of a list; in a typed list the items name neither kind nor apiVersion."""
    bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    meta = {"resourceVersion": str(version), **({"continue": token, "remainingItemCount": 1} if token else {})}
    return json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": meta, "items": bare}).encode()
