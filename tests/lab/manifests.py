"""Short builders of Kubernetes objects as plain dicts, and the directory the program under test reads them from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Port:
    """A Service port: what clients connect to, and what the endpoints listen on."""

    name: str
    protocol: str
    port: int
    target: int
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a slice. None leaves a condition out, and then the reader's default holds."""

    address: str
    node: str = ""
    ready: bool | None = True
    serving: bool | None = None
    terminating: bool | None = None
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    def to_object(self) -> Object:
        conditions = {"ready": self.ready, "serving": self.serving, "terminating": self.terminating}
        made: Object = {
            "addresses": [self.address],
            "conditions": {name: value for name, value in conditions.items() if value is not None},
        }
        if self.node:
            made["nodeName"] = self.node
        hints: Object = {}
        if self.zones:
            hints["forZones"] = [{"name": zone} for zone in self.zones]
        if self.nodes:
            hints["forNodes"] = [{"name": node} for node in self.nodes]
        if hints:
            made["hints"] = hints
        return made


def service(
    name: str,
    ports: Sequence[Port],
    cluster_ips: Sequence[str],
    *,
    kind: str = "ClusterIP",
    load_balancer_ips: Sequence[str] = (),
    ip_mode: str = "",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A Service. `cluster_ips` gives the families too; `spec` takes any further field of the spec by its own name."""
    families = ["IPv6" if ":" in ip else "IPv4" for ip in cluster_ips if ip != "None"]
    made: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "lab", "labels": labels or {}},
        "spec": {
            "type": kind,
            "clusterIP": cluster_ips[0] if cluster_ips else "",
            "clusterIPs": list(cluster_ips),
            "ipFamilies": families,
            "ports": [
                {
                    "name": port.name,
                    "protocol": port.protocol.upper(),
                    "port": port.port,
                    "targetPort": port.target,
                }
                | ({"nodePort": port.node_port} if port.node_port else {})
                for port in ports
            ],
            **spec,
        },
    }
    if load_balancer_ips:
        mode = {"ipMode": ip_mode} if ip_mode else {}
        made["status"] = {"loadBalancer": {"ingress": [{"ip": ip, **mode} for ip in load_balancer_ips]}}
    return made


def endpoint_slice(service_name: str, family: Family, ports: Sequence[Port], endpoints: Iterable[Endpoint]) -> Object:
    """The slice of a Service for one family."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service_name}-{family}",
            "namespace": "lab",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4" if family == "ipv4" else "IPv6",
        "ports": [{"name": port.name, "protocol": port.protocol.upper(), "port": port.target} for port in ports],
        "endpoints": [endpoint.to_object() for endpoint in endpoints],
    }


def node(
    name: str,
    addresses: dict[Family, tuple[str, ...]],
    pod_cidrs: Sequence[str] = (),
    *,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A Node with its primary address of each family as InternalIP."""
    made: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {**({"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {}), **spec},
        "status": {
            "addresses": [{"type": "InternalIP", "address": addresses[f][0]} for f in FAMILIES if addresses.get(f)]
        },
    }
    return made


def service_cidr(name: str, cidrs: Sequence[str]) -> Object:
    """A ServiceCIDR: a range from which clusterIPs are allocated."""
    metadata = {"name": name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": metadata,
        "spec": {"cidrs": list(cidrs)},
    }


@dataclass(slots=True)
class ManifestDirectory:
    """A directory of manifests. Every write and removal is seen by a reader as one change, never as half of one."""

    path: Path
    _number: int = field(default=0)

    def write(self, name: str, objects: Sequence[Object]) -> None:
        """Put `objects` into NAME.json, in place of what was there."""
        self._number += 1
        scratch = self.path / f".{name}.{self._number}.tmp"
        scratch.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}, indent=1))
        os.replace(scratch, self.path / f"{name}.json")  # noqa: PTH105 (the atomicity is the point)

    def remove(self, name: str) -> None:
        (self.path / f"{name}.json").unlink()

    def clear(self) -> None:
        for path in self.path.iterdir():
            path.unlink()
