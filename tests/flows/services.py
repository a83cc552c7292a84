"""Services of the flow table: a compact description of one, the addresses it gets, and the objects made of both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tests.lab.addresses import (
    CLUSTER_IPS,
    EXTERNAL_IPS,
    FAMILIES,
    LOAD_BALANCER_IPS,
    UNALLOCATED_IPS,
    Family,
    numbered,
)
from tests.lab.cluster import POD_PORT, Cluster
from tests.lab.manifests import Endpoint, Object, Port, endpoint_slice, service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.probe import Protocol

Type = Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]

SERVICE_PORT = 80
STATES: dict[str, dict[str, bool]] = {
    "": {"ready": True},
    "term": {"ready": False, "serving": True, "terminating": True},
    "dead": {"ready": False, "serving": False, "terminating": False},
}
PORT_NAMES: dict[Protocol, str] = {"tcp": "web", "udp": "datagrams", "sctp": "signals"}


@dataclass(frozen=True, slots=True)
class Svc:
    """A Service in short.

    `endpoints` is one word per endpoint: the pod's name, then any of `!term` (serving and terminating), `!dead`
    (neither ready nor serving), `@z1` (hinted for that zone), `%node-a` (hinted for that node).
    `ranges` are names of hosts whose addresses are in loadBalancerSourceRanges, or CIDRs.
    """

    endpoints: str
    type: Type = "ClusterIP"
    external: bool = False
    itp_local: bool = False
    etp_local: bool = False
    ranges: str = ""
    ip_mode: str = ""
    health_port: bool = False
    affinity_s: int = 0
    headless: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.type, "with externalIPs"] if self.external else [self.type]
        words += ["headless"] * self.headless + ["iTP Local"] * self.itp_local + ["eTP Local"] * self.etp_local
        words += [f"source ranges {self.ranges}"] * bool(self.ranges) + [f"affinity {self.affinity_s} s"] * bool(
            self.affinity_s
        )
        return ", ".join([*words, f"endpoints {self.endpoints}" if self.endpoints else "no endpoints"])


def cluster_ip(endpoints: str, **options: Any) -> Svc:
    return Svc(endpoints, **options)


def external_ip(endpoints: str, **options: Any) -> Svc:
    return Svc(endpoints, external=True, **options)


def node_port(endpoints: str, **options: Any) -> Svc:
    return Svc(endpoints, "NodePort", **options)


def load_balancer(endpoints: str, **options: Any) -> Svc:
    return Svc(endpoints, "LoadBalancer", **options)


@dataclass(frozen=True, slots=True)
class Place:
    """Name, addresses and ports of one Service: row 17's first has 10.96.1.17, fd00:10:96::1:17 and node port 30171."""

    row: int
    number: int

    @property
    def name(self) -> str:
        return f"row-{self.row:03}-{self.number}"

    @property
    def node_port(self) -> int:
        return 30000 + self.row * 10 + self.number

    @property
    def health_port(self) -> int:
        return 20000 + self.row * 10 + self.number

    def cluster_ip(self, family: Family) -> str:
        return numbered(CLUSTER_IPS, family, self.number, self.row)

    def load_balancer_ip(self, family: Family) -> str:
        return numbered(LOAD_BALANCER_IPS, family, self.number, self.row)

    def external_ip(self, family: Family) -> str:
        return numbered(EXTERNAL_IPS, family, self.number, self.row)

    def unallocated_ip(self, family: Family) -> str:
        return numbered(UNALLOCATED_IPS, family, self.number, self.row)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A Service with its place, families and protocols: everything needed to write its objects."""

    svc: Svc
    place: Place
    families: tuple[Family, ...] = FAMILIES
    protocols: tuple[Protocol, ...] = ("tcp", "udp")

    @property
    def ports(self) -> list[Port]:
        has_node_port = self.svc.type in ("NodePort", "LoadBalancer")
        number = self.place.node_port if has_node_port else 0
        return [Port(PORT_NAMES[p], p, SERVICE_PORT, POD_PORT, number) for p in self.protocols]

    def service(self, cluster: Cluster) -> Object:
        """The Service object."""
        svc, place, spec = self.svc, self.place, dict[str, Any]()
        if svc.external:
            spec["externalIPs"] = [place.external_ip(family) for family in self.families]
        if svc.itp_local:
            spec["internalTrafficPolicy"] = "Local"
        if svc.type != "ClusterIP" or svc.external:
            spec["externalTrafficPolicy"] = "Local" if svc.etp_local else "Cluster"
        if svc.ranges:
            spec["loadBalancerSourceRanges"] = _cidrs(svc.ranges, cluster)
        if svc.health_port:
            spec["healthCheckNodePort"] = place.health_port
        if svc.affinity_s:
            spec["sessionAffinity"] = "ClientIP"
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": svc.affinity_s}}
        if svc.type == "ExternalName":
            spec["externalName"] = "elsewhere.example"
        ingress = [place.load_balancer_ip(family) for family in self.families] if svc.type == "LoadBalancer" else []
        addresses = ["None"] if svc.headless else [place.cluster_ip(family) for family in self.families]
        return service(
            place.name,
            self.ports,
            addresses,
            kind=svc.type,
            load_balancer_ips=ingress,
            ip_mode=svc.ip_mode,
            labels=svc.labels,
            **spec,
        )

    def slices(self, cluster: Cluster, endpoints: str | None = None) -> list[Object]:
        """The EndpointSlices, one per family; `endpoints` instead of the Service's own, in the same notation."""
        words = (self.svc.endpoints if endpoints is None else endpoints).split()
        made = []
        for family in self.families:
            there = [endpoint(cluster, family, word) for word in words]
            made.append(endpoint_slice(self.place.name, family, self.ports, there))
        for one in made:
            one["metadata"]["labels"] |= self.svc.labels
        return made

    def objects(self, cluster: Cluster) -> list[Object]:
        return [self.service(cluster), *self.slices(cluster)]


def endpoint(cluster: Cluster, family: Family, word: str) -> Endpoint:
    """One endpoint from its word in `Svc.endpoints`."""
    name, *marks = re.findall(r"[!@%]?[^!@%]+", word)
    (state,) = [mark[1:] for mark in marks if mark[0] == "!"] or [""]
    hints = {kind: tuple(mark[1:] for mark in marks if mark[0] == kind) for kind in "@%"}
    return cluster.endpoint(name, family, zones=hints["@"], nodes=hints["%"], **STATES[state])


def names_of(endpoints: str) -> set[str]:
    """The pods in an `endpoints` text."""
    return {re.split("[!@%]", word)[0] for word in endpoints.split()}


def _cidrs(ranges: str, cluster: Cluster) -> Sequence[str]:
    made = []
    for word in ranges.split():
        if "/" in word:
            made.append(word)
        else:
            made += [f"{cluster.address(word, f)}/{32 if f == 'ipv4' else 128}" for f in FAMILIES]
    return made
