"""Parses Services.

Behaviour: kube-proxy's service tracker (which fields count, which Services are passed over, family selection).
Where the API server's validation would have refused the object, so does this parser, because a directory of
manifests has no API server in front of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.errors import ObjectError
from kproxy.state.addresses import FAMILIES, Family, parse_cidr, parse_ip
from kproxy.state.labels import is_label
from kproxy.state.service import (
    ANNOTATION_SCHEDULER,
    IPVS_SCHEDULERS,
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    PROTOCOLS,
    ParsedService,
    ServicePort,
    ServicePortName,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.kube import wire

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
POLICIES = ("Cluster", "Local")
DEFAULT_AFFINITY_S = 10800


def parse_service(service: wire.Service, *, external_ips_allowed: bool = True) -> ParsedService:
    """Parse a Service of either or both families.

    `external_ips_allowed` is the feature gate AllowServiceExternalIPs. Raises `ObjectError` naming the field when the
    object would not have passed the API server.
    """
    meta, spec = service.metadata, service.spec
    namespace = meta.namespace or "default"
    where = f"Service {namespace}/{meta.name}"
    # Objects from files have met no other validation, and these words end up in rules.
    for field, label in (("metadata.name", meta.name), ("metadata.namespace", namespace)):
        if not is_label(label):
            raise ObjectError(where, field, "must be an RFC 1123 label")
    reason_dns, reason_over = _why_no_rules(service)
    bare = ParsedService(namespace, meta.name, meta.creation_timestamp or "", {}, reason_dns, reason_over)
    if reason_dns or reason_over:
        return bare
    fields = _ServiceFields(where, service, external_ips_allowed)
    ports: dict[Family, tuple[ServicePort, ...]] = {}
    for family in FAMILIES:
        cluster_ip = fields.cluster_ip(family)
        if cluster_ip:
            ports[family] = tuple(
                fields.port(family, cluster_ip, port, name) for name, port in fields.checked_ports(namespace)
            )
    if not ports:
        raise ObjectError(where, "spec.clusterIP", f"{spec.cluster_ip!r} does not fit spec.ipFamilies")
    needs_check = spec.type == "LoadBalancer" and fields.external_local
    check_port = (spec.health_check_node_port or 0) if needs_check else 0
    if needs_check and not check_port:
        fields.warnings.append(
            "spec.healthCheckNodePort: 0, so no health check is served for externalTrafficPolicy Local"
        )
    if not 0 <= check_port <= 65535:
        raise ObjectError(where, "spec.healthCheckNodePort", f"{check_port} is not a port number")
    return msgspec.structs.replace(
        bare, ports=ports, warnings=tuple(fields.warnings), health_check_node_port=check_port
    )


def _why_no_rules(service: wire.Service) -> tuple[str, str]:
    """Return (why it is handed to DNS, why it is passed over); at most one is non-empty."""
    labels = service.metadata.labels or {}
    spec = service.spec
    if LABEL_PROXY_NAME in labels:
        return "", f"label {LABEL_PROXY_NAME} hands it to another proxy"
    if spec.type == "ExternalName":
        return "ExternalName", ""
    if spec.cluster_ip == "None":
        return "headless", ""
    if LABEL_HEADLESS in labels:
        return f"label {LABEL_HEADLESS}", ""
    if not spec.cluster_ip:
        return "", "it has no clusterIP"
    return "", ""


class _ServiceFields:
    """Reads the fields that are common to all ports once; collects warnings on ignored values."""

    def __init__(self, where: str, service: wire.Service, external_ips_allowed: bool) -> None:
        self.where = where
        self.spec = spec = service.spec
        for field, value, known in (
            ("spec.type", spec.type, TYPES),
            ("spec.internalTrafficPolicy", spec.internal_traffic_policy, POLICIES),
            ("spec.externalTrafficPolicy", spec.external_traffic_policy, POLICIES),
        ):
            if value and value not in known:
                raise ObjectError(where, field, f"{value!r} is not one of {', '.join(known)}")
        self.warnings: list[str] = []
        # kube-proxy: the external policy holds only for a Service that is reachable from outside.
        external_ips = spec.external_ips if external_ips_allowed else None
        accessible = spec.type in ("LoadBalancer", "NodePort") or bool(external_ips)
        self.external_local = accessible and spec.external_traffic_policy == "Local"
        self.internal_local = spec.internal_traffic_policy == "Local"
        self.affinity_seconds = self._affinity()
        self.external_ips = self._addresses("spec.externalIPs", external_ips or ())
        status = service.status.load_balancer if service.status else None
        self.vips = self._addresses(
            "status.loadBalancer.ingress[].ip",
            [
                entry.ip
                for entry in (status.ingress if status else None) or ()
                if entry.ip and entry.ip_mode in (None, "VIP")
            ],
        )
        self.ranges = self._source_ranges()
        self.scheduler = self._scheduler(service.metadata.annotations or {})

    def _scheduler(self, annotations: Mapping[str, str]) -> str:
        scheduler = annotations.get(ANNOTATION_SCHEDULER, "")
        if scheduler and scheduler not in IPVS_SCHEDULERS:
            field = f"metadata.annotations[{ANNOTATION_SCHEDULER}]"
            self.warnings.append(f"{field}: {scheduler!r} is not one of {', '.join(IPVS_SCHEDULERS)}; ignored")
            return ""
        return scheduler

    def _affinity(self) -> int | None:
        spec = self.spec
        if spec.session_affinity in (None, "", "None"):
            return None
        if spec.session_affinity != "ClientIP":
            raise ObjectError(self.where, "spec.sessionAffinity", f"{spec.session_affinity!r} is not None or ClientIP")
        config = spec.session_affinity_config
        seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
        if seconds is None:
            return DEFAULT_AFFINITY_S
        if not 1 <= seconds <= 86400:
            raise ObjectError(
                self.where, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", f"{seconds} is not in 1..86400"
            )
        return seconds

    def _addresses(self, field: str, texts: Iterable[str]) -> dict[Family, tuple[str, ...]]:
        found: dict[Family, list[str]] = {family: [] for family in FAMILIES}
        for text in texts:
            try:
                family, ip = parse_ip(text)
            except ValueError:
                if text:
                    self.warnings.append(f"{field}: {text!r} is not an IP address; ignored")
                continue
            if ip not in found[family]:
                found[family].append(ip)
        return {family: tuple(ips) for family, ips in found.items()}

    def _source_ranges(self) -> dict[Family, tuple[str, ...]]:
        found: dict[Family, list[str]] = {family: [] for family in FAMILIES}
        for index, text in enumerate(self.spec.load_balancer_source_ranges or ()):
            try:
                family, cidr = parse_cidr(text)
            except ValueError:
                # Leaving a range out could open the Service to everybody; the API server would have refused it.
                raise ObjectError(
                    self.where, f"spec.loadBalancerSourceRanges[{index}]", f"{text!r} is not a CIDR"
                ) from None
            if cidr not in found[family]:
                found[family].append(cidr)
        return {family: tuple(cidrs) for family, cidrs in found.items()}

    def cluster_ip(self, family: Family) -> str:
        """Return the clusterIP of that family, or "" when the Service has none."""
        spec = self.spec
        if spec.ip_families:
            candidates = list(zip(spec.ip_families, spec.cluster_ips or [spec.cluster_ip or ""], strict=False))
            text = next((ip for name, ip in candidates if name == family), "")
        else:
            text = spec.cluster_ip or ""
        if not text:
            return ""
        try:
            found, ip = parse_ip(text)
        except ValueError:
            raise ObjectError(self.where, "spec.clusterIP", f"{text!r} is not an IP address") from None
        if found is family:
            return ip
        if spec.ip_families:
            raise ObjectError(self.where, "spec.clusterIPs", f"{text!r} is not {family}, as spec.ipFamilies says")
        return ""

    def checked_ports(self, namespace: str) -> list[tuple[ServicePortName, wire.ServicePort]]:
        """Return the ports with their identity, after the checks an API server makes."""
        service = self.where.rpartition("/")[2]
        ports = self.spec.ports or []
        if not ports:
            raise ObjectError(self.where, "spec.ports", "is empty")
        seen: set[tuple[str, object]] = set()
        result = []
        for index, port in enumerate(ports):
            field = f"spec.ports[{index}]"
            protocol = port.protocol or "TCP"
            name = port.name or ""
            if protocol not in PROTOCOLS:
                raise ObjectError(self.where, f"{field}.protocol", f"{protocol!r} is not one of {', '.join(PROTOCOLS)}")
            if name and not is_label(name):
                raise ObjectError(self.where, f"{field}.name", f"{name!r} is not a DNS label")
            if not name and len(ports) > 1:
                raise ObjectError(self.where, f"{field}.name", "is required when a Service has several ports")
            if not 1 <= port.port <= 65535:
                raise ObjectError(self.where, f"{field}.port", f"{port.port} is not in 1..65535")
            if not 0 <= (port.node_port or 0) <= 65535:
                raise ObjectError(self.where, f"{field}.nodePort", f"{port.node_port} is not in 1..65535")
            keys: list[tuple[str, object]] = [("name", name), ("port and protocol", (port.port, protocol))]
            if port.node_port:
                keys.append(("nodePort and protocol", (port.node_port, protocol)))
            for what, key in keys:
                if (what, key) in seen:
                    raise ObjectError(self.where, field, f"another port of the Service has the same {what}")
                seen.add((what, key))
            result.append((ServicePortName(namespace, service, name, protocol), port))
        return result

    def port(self, family: Family, cluster_ip: str, port: wire.ServicePort, name: ServicePortName) -> ServicePort:
        """Build the ServicePort of one family."""
        return ServicePort(
            name=name,
            family=family,
            cluster_ip=cluster_ip,
            port=port.port,
            node_port=port.node_port or 0,
            external_ips=self.external_ips[family],
            load_balancer_vips=self.vips[family],
            source_ranges=self.ranges[family],
            affinity_seconds=self.affinity_seconds,
            internal_local=self.internal_local,
            external_local=self.external_local,
            ipvs_scheduler=self.scheduler,
        )
