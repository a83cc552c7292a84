"""A Service as the rest of kproxy sees it: one `ServicePort` per port and family, or the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from kproxy.state.addresses import Family

LABEL_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LABEL_HEADLESS = "service.kubernetes.io/headless"
ANNOTATION_SCHEDULER = "kproxy.dev/ipvs-scheduler"
IPVS_SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf")
"""Those of the kernel, which may lack any of them: each is a module (ip_vs_rr ...)."""
PROTOCOLS = ("TCP", "UDP", "SCTP")


class ServicePortName(msgspec.Struct, frozen=True, gc=False, order=True):
    """What everything is keyed by. `str()` is kube-proxy's display form, without the protocol."""

    namespace: str
    service: str
    port: str
    protocol: str

    def __str__(self) -> str:
        base = f"{self.namespace}/{self.service}"
        return f"{base}:{self.port}" if self.port else base


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """One port of a Service in one family, ready for planning. Addresses and CIDRs are canonical strings.

    `ipvs_scheduler` is the annotation's, "" without one.
    """

    name: ServicePortName
    family: Family
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_vips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int | None = None
    internal_local: bool = False
    external_local: bool = False
    ipvs_scheduler: str = ""

    @property
    def protocol(self) -> str:
        """TCP, UDP or SCTP."""
        return self.name.protocol

    @property
    def externally_accessible(self) -> bool:
        """Has a node port, a load-balancer VIP or an external IP."""
        return bool(self.node_port or self.load_balancer_vips or self.external_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Needs the cluster-wide list (for the clusterIP, or to short-circuit pod traffic to external addresses)."""
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        """Needs the list of endpoints on this node."""
        return self.internal_local or (self.external_local and self.externally_accessible)


class ParsedService(msgspec.Struct, frozen=True):
    """A Service as the rest of kproxy sees it.

    `ports` is empty when it gets no rules; then `handed_to_dns` or `passed_over` says why. `warnings` are fields that
    were ignored. `health_check_node_port` is 0 unless it needs one (LoadBalancer, eTP Local).
    """

    namespace: str
    name: str
    created: str
    ports: dict[Family, tuple[ServicePort, ...]]
    handed_to_dns: str = ""
    passed_over: str = ""
    warnings: tuple[str, ...] = ()
    health_check_node_port: int = 0

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"
