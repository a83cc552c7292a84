"""A cluster of any size: Services with a clusterIP and four endpoints each, as objects and as a manifest."""

from __future__ import annotations

import json
from typing import Any

ENDPOINTS = 4
PORT, TARGET_PORT = 80, 8080
NODE = "node-a"
POD_CIDR = "10.128.0.0/9"


def service_ip(index: int) -> str:
    """10.96.0.0/12, in order of allocation."""
    return f"10.{96 + (index >> 16)}.{index >> 8 & 255}.{index & 255}"


def endpoint_ips(index: int, generation: int = 0) -> list[str]:
    """The endpoints of one Service; another generation has other addresses."""
    base = index * ENDPOINTS + (generation << 19)
    return [
        f"10.{128 + (number >> 16 & 127)}.{number >> 8 & 255}.{number & 255}"
        for number in range(base, base + ENDPOINTS)
    ]


def service(index: int) -> dict[str, Any]:
    ip = service_ip(index)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"svc-{index}",
            "namespace": "bench",
            "labels": {"app": f"svc-{index}"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": ["IPv4"],
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app": f"svc-{index}"},
            "ports": [{"port": PORT, "protocol": "TCP", "targetPort": TARGET_PORT}],
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(index: int, generation: int = 0) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"svc-{index}-x7k2p",
            "namespace": "bench",
            "labels": {"kubernetes.io/service-name": f"svc-{index}"},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [ip], "nodeName": "node-b", "conditions": {"ready": True, "serving": True}}
            for ip in endpoint_ips(index, generation)
        ],
        "ports": [{"name": "", "port": TARGET_PORT, "protocol": "TCP"}],
    }


def as_json(services: int) -> str:
    """`kubectl get services,endpointslices -o json`."""
    items = [make(index) for index in range(services) for make in (service, endpoint_slice)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=4)


def as_yaml(services: int) -> str:
    """`kubectl get services,endpointslices -o yaml`. Written by hand: dumping with PyYAML takes minutes."""
    lines = ["apiVersion: v1", "items:"]
    for index in range(services):
        for make in (service, endpoint_slice):
            block = _block(make(index), 2)
            block[0] = "- " + block[0][2:]
            lines += block
    return "\n".join([*lines, "kind: List", "metadata:", '  resourceVersion: ""', ""])


def _block(value: dict[str, Any], indent: int) -> list[str]:
    pad = " " * indent
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{pad}{key}:", *_block(item, indent + 2)]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{pad}{key}:")
            for entry in item:
                block = _block(entry, indent + 2)
                block[0] = f"{pad}- {block[0][indent + 2 :]}"
                lines += block
        else:
            lines.append(f"{pad}{key}: {json.dumps(item)}")
    return lines
