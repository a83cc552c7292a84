"""What this node must do with the traffic of one service port, whatever the mode that does it.

An intent is the end of policy and the beginning of rendering: every mode turns the same `PortIntent` into its own
kernel objects. Every "no" in it carries its reason.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.topology import Selection, select_endpoints, why_passed_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.plan.topology import PassedOver
    from kproxy.state.endpoints import Endpoint
    from kproxy.state.node import NodeInfo
    from kproxy.state.service import ServicePort


class Verdict(enum.Enum):
    """What happens to a new connection."""

    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"


class Reason(enum.StrEnum):
    """Why a frontend rejects or drops. The words are kube-proxy's; they stand in rule comments."""

    NO_ENDPOINTS = "has no endpoints"
    NO_LOCAL_ENDPOINTS = "has no local endpoints"


class FrontendKind(enum.StrEnum):
    """The ways to address a service port. The words are kube-proxy's; they stand in rule comments."""

    CLUSTER_IP = "cluster IP"
    EXTERNAL_IP = "external IP"
    LOAD_BALANCER = "loadbalancer IP"
    NODE_PORT = "node port"


class Frontend(msgspec.Struct, frozen=True, gc=False):
    """One address of a service port: clusterIP, external IP, load-balancer VIP, or (`ip` empty) the node port."""

    kind: FrontendKind
    ip: str
    port: int


class PortIntent(msgspec.Struct, frozen=True, gc=False):
    """The plan for one service port in one family.

    `endpoints` are all that the slices list; `selection` those in use. `internal` is the verdict for the clusterIP,
    `external` the one for every other frontend; a REJECT or DROP has its reason beside it. With external DROP, pods
    and the node itself are still served where `short_circuit` holds.
    """

    port: ServicePort
    endpoints: tuple[Endpoint, ...]
    selection: Selection
    internal: Verdict
    internal_reason: Reason | None
    external: Verdict
    external_reason: Reason | None

    @property
    def internal_endpoints(self) -> tuple[Endpoint, ...]:
        """Where clusterIP traffic goes."""
        return self.selection.local if self.port.internal_local else self.selection.cluster

    @property
    def external_endpoints(self) -> tuple[Endpoint, ...]:
        """Where traffic from outside goes."""
        return self.selection.local if self.port.external_local else self.selection.cluster

    @property
    def short_circuit(self) -> bool:
        """Local policy on external frontends: pods and the node itself are sent to the cluster list."""
        return self.port.external_local and bool(self.selection.cluster)

    @property
    def forwards_external(self) -> bool:
        """External frontends need rules that forward, be it for the short circuit alone."""
        return self.selection.any_usable and self.port.externally_accessible

    @property
    def firewalled(self) -> bool:
        """Load-balancer VIPs are limited to source ranges."""
        return bool(self.port.source_ranges)

    def passed_over(self) -> dict[str, tuple[Endpoint, PassedOver]]:
        """Return, by address, the endpoints not in use and why."""
        return why_passed_over(self.endpoints, self.selection, self.port)

    def external_frontends(self) -> Iterator[Frontend]:
        """Yield external IPs, then VIPs, then the node port."""
        port = self.port
        for ip in port.external_ips:
            yield Frontend(FrontendKind.EXTERNAL_IP, ip, port.port)
        for ip in port.load_balancer_vips:
            yield Frontend(FrontendKind.LOAD_BALANCER, ip, port.port)
        if port.node_port:
            yield Frontend(FrontendKind.NODE_PORT, "", port.node_port)


def plan_port(port: ServicePort, endpoints: tuple[Endpoint, ...], node: NodeInfo) -> PortIntent:
    """Plan one service port: selection, then the verdicts of both kinds of frontends."""
    selection = select_endpoints(endpoints, port, node.name, node.zone)
    internal = _verdict(selection, port.internal_local)
    external = _verdict(selection, port.external_local)
    return PortIntent(port, endpoints, selection, *internal, *external)


def _verdict(selection: Selection, local_policy: bool) -> tuple[Verdict, Reason | None]:
    if not selection.any_usable:
        return Verdict.REJECT, Reason.NO_ENDPOINTS
    if local_policy and not selection.local:
        return Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS
    return Verdict.FORWARD, None
