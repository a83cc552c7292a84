"""The Kubernetes objects kproxy reads, with only the fields in use.

Unknown fields are skipped while decoding; a wrong type is an error that names the field's path. `null` stands for
"absent", as in the API's own JSON. Field names are the API's, in snake case here and camel case on the wire.
"""

from __future__ import annotations

import msgspec


class Wire(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Base of the structs: camelCase on the wire, immutable."""


class OwnerReference(Wire, frozen=True, gc=False):
    """metadata.ownerReferences[]."""

    kind: str = ""
    name: str = ""


class ObjectMeta(Wire, frozen=True, gc=False):
    """metadata."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    resource_version: str | None = None


class ServicePort(Wire, frozen=True, gc=False):
    """spec.ports[] of a Service. targetPort is not read: EndpointSlices carry its result."""

    port: int
    name: str | None = None
    protocol: str | None = None
    node_port: int | None = None


class ClientIPConfig(Wire, frozen=True, gc=False):
    """spec.sessionAffinityConfig.clientIP."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Wire, frozen=True, gc=False):
    """spec.sessionAffinityConfig."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Wire, frozen=True, gc=False):
    """spec of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    ports: list[ServicePort] | None = None
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    load_balancer_source_ranges: list[str] | None = None
    external_name: str | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: int | None = None


class LoadBalancerIngress(Wire, frozen=True, gc=False):
    """status.loadBalancer.ingress[]."""

    ip: str | None = None
    ip_mode: str | None = None
    hostname: str | None = None


class LoadBalancerStatus(Wire, frozen=True, gc=False):
    """status.loadBalancer."""

    ingress: list[LoadBalancerIngress] | None = None


class ServiceStatus(Wire, frozen=True, gc=False):
    """status of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class Service(Wire, frozen=True, gc=False):
    """v1 Service."""

    metadata: ObjectMeta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None


class EndpointConditions(Wire, frozen=True, gc=False):
    """endpoints[].conditions of an EndpointSlice."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Wire, frozen=True, gc=False):
    """endpoints[].hints.forZones[] and forNodes[]."""

    name: str = ""


class EndpointHints(Wire, frozen=True, gc=False):
    """endpoints[].hints."""

    for_zones: list[Hint] | None = None
    for_nodes: list[Hint] | None = None


class ObjectReference(Wire, frozen=True, gc=False):
    """endpoints[].targetRef: the Pod behind an endpoint."""

    name: str = ""


class Endpoint(Wire, frozen=True, gc=False):
    """endpoints[] of an EndpointSlice. Only addresses[0] is used."""

    addresses: list[str] | None = None
    conditions: EndpointConditions | None = None
    node_name: str | None = None
    hostname: str | None = None
    hints: EndpointHints | None = None
    target_ref: ObjectReference | None = None
    zone: str | None = None


class EndpointPort(Wire, frozen=True, gc=False):
    """ports[] of an EndpointSlice."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(Wire, frozen=True, gc=False):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata: ObjectMeta
    address_type: str = ""
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


class EndpointAddress(Wire, frozen=True, gc=False):
    """subsets[].addresses[] and notReadyAddresses[] of Endpoints."""

    ip: str
    hostname: str | None = None
    node_name: str | None = None


class EndpointSubset(Wire, frozen=True, gc=False):
    """subsets[] of Endpoints."""

    addresses: list[EndpointAddress] | None = None
    not_ready_addresses: list[EndpointAddress] | None = None
    ports: list[EndpointPort] | None = None


class Endpoints(Wire, frozen=True, gc=False):
    """v1 Endpoints, the API before EndpointSlices."""

    metadata: ObjectMeta
    subsets: list[EndpointSubset] | None = None


class Taint(Wire, frozen=True, gc=False):
    """spec.taints[] of a Node."""

    key: str = ""


class NodeSpec(Wire, frozen=True, gc=False):
    """spec of a Node."""

    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default=None, name="podCIDRs")
    taints: list[Taint] | None = None


class NodeAddress(Wire, frozen=True, gc=False):
    """status.addresses[] of a Node."""

    type: str = ""
    address: str = ""


class NodeStatus(Wire, frozen=True, gc=False):
    """status of a Node."""

    addresses: list[NodeAddress] | None = None


class Node(Wire, frozen=True, gc=False):
    """v1 Node."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None


class Namespace(Wire, frozen=True, gc=False):
    """v1 Namespace."""

    metadata: ObjectMeta


class PodIP(Wire, frozen=True, gc=False):
    """status.podIPs[] of a Pod."""

    ip: str = ""


class PodStatus(Wire, frozen=True, gc=False):
    """status of a Pod."""

    phase: str = ""
    pod_ips: list[PodIP] | None = msgspec.field(default=None, name="podIPs")


class Pod(Wire, frozen=True, gc=False):
    """v1 Pod."""

    metadata: ObjectMeta
    status: PodStatus | None = None


class ServiceCIDRSpec(Wire, frozen=True, gc=False):
    """spec of a ServiceCIDR."""

    cidrs: list[str] | None = None


class Condition(Wire, frozen=True, gc=False):
    """status.conditions[]. `status` is "True", "False" or "Unknown"."""

    type: str = ""
    status: str = ""


class ServiceCIDRStatus(Wire, frozen=True, gc=False):
    """status of a ServiceCIDR."""

    conditions: list[Condition] | None = None


class ServiceCIDR(Wire, frozen=True, gc=False):
    """networking.k8s.io/v1 ServiceCIDR."""

    metadata: ObjectMeta
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus | None = None


KubeObject = Service | EndpointSlice | Endpoints | Node | Namespace | Pod | ServiceCIDR

KINDS: dict[
    str,
    type[Service]
    | type[EndpointSlice]
    | type[Endpoints]
    | type[Node]
    | type[Namespace]
    | type[Pod]
    | type[ServiceCIDR],
] = {
    "Service": Service,
    "EndpointSlice": EndpointSlice,
    "Endpoints": Endpoints,
    "Node": Node,
    "Namespace": Namespace,
    "Pod": Pod,
    "ServiceCIDR": ServiceCIDR,
}
"""kind -> the struct it is decoded to. Other kinds are passed over."""

CLUSTER_SCOPED = ("Node", "Namespace", "ServiceCIDR")
"""The kinds whose objects are in no namespace."""


def namespaced_name(obj: KubeObject) -> str:
    """Return "namespace/name" ("name" for one that is in no namespace), the key of an object among its kind."""
    meta = obj.metadata
    if isinstance(obj, Node | Namespace | ServiceCIDR):
        return meta.name
    return f"{meta.namespace or 'default'}/{meta.name}"
