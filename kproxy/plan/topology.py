"""Which endpoints a service port uses on this node, and why the others are passed over.

Behaviour: kube-proxy's topology code; KEP-1669 (terminating endpoints), KEP-2433 (zone hints), KEP-3015
(trafficDistribution, node hints).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.state.endpoints import Endpoint
    from kproxy.state.service import ServicePort


class HintMode(enum.Enum):
    """Which hints decide the cluster list."""

    NONE = "none"
    SAME_NODE = "same node"
    SAME_ZONE = "same zone"


class PassedOver(enum.StrEnum):
    """Why an endpoint is not in a list."""

    NOT_READY = "it is not ready"
    TERMINATING = "it is terminating, and ready endpoints exist"
    NOT_SERVING = "it is terminating and no longer serves"
    OTHER_NODE = "it is on another node, and the policy is Local"
    HINTED_ELSEWHERE_NODE = "its hints name other nodes"
    HINTED_ELSEWHERE_ZONE = "its hints name other zones"


class Selection(msgspec.Struct, frozen=True, gc=False):
    """The outcome for one service port.

    `cluster` serves the Cluster policy, `local` the Local policy, `reachable` is their union; all sorted by address.
    `any_usable` tells a Service without endpoints (reject) from one without *local* endpoints (drop). `hints` says
    how the cluster list was narrowed, `hints_because` why it was not.
    """

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    reachable: tuple[Endpoint, ...] = ()
    any_usable: bool = False
    hints: HintMode = HintMode.NONE
    hints_because: str = ""


NOTHING = Selection(hints_because="there are no endpoints")


def select_endpoints(endpoints: tuple[Endpoint, ...], port: ServicePort, node_name: str, zone: str) -> Selection:
    """Choose the endpoints of `port` among all that its slices list."""
    if not endpoints:
        return NOTHING
    cluster: tuple[Endpoint, ...] = ()
    hints, because = HintMode.NONE, "the cluster list is not used"
    any_usable = False
    if port.uses_cluster_endpoints:
        ready = _those(endpoints, [endpoint for endpoint in endpoints if endpoint.ready])
        hints, because = hint_mode(ready, node_name, zone)
        cluster = ready
        if hints is not HintMode.NONE:
            cluster = tuple(endpoint for endpoint in ready if _hinted_here(endpoint, hints, node_name, zone))
        if not cluster:
            cluster = _those(endpoints, [endpoint for endpoint in endpoints if endpoint.usable_as_last_resort])
        any_usable = bool(cluster)
    if not port.uses_local_endpoints:
        return Selection(cluster, (), cluster, any_usable, hints, because)
    any_usable = any_usable or any(endpoint.ready or endpoint.usable_as_last_resort for endpoint in endpoints)
    # Hints never narrow the local list: a Local policy already says where the traffic stays.
    here = [endpoint for endpoint in endpoints if endpoint.local]
    local = _those(endpoints, [endpoint for endpoint in here if endpoint.ready])
    if not local:
        local = _those(endpoints, [endpoint for endpoint in here if endpoint.usable_as_last_resort])
    reachable = _union(cluster, local) if port.uses_cluster_endpoints else local
    return Selection(cluster, local, reachable, any_usable, hints, because)


def hint_mode(ready: tuple[Endpoint, ...], node_name: str, zone: str) -> tuple[HintMode, str]:
    """Decide which hints narrow the cluster list, from the *ready* endpoints only; say why if none do."""
    if not ready:
        return HintMode.NONE, "no endpoint is ready"
    because = "no endpoint has hints"
    if all(endpoint.node_hints for endpoint in ready):
        if any(node_name in endpoint.node_hints for endpoint in ready):
            return HintMode.SAME_NODE, ""
        because = f"no ready endpoint is hinted for node {node_name}"
    hinted = [endpoint for endpoint in ready if endpoint.zone_hints]
    if not hinted:
        return HintMode.NONE, because
    if len(hinted) < len(ready):
        return HintMode.NONE, "a ready endpoint has no zone hint"
    if not zone:
        return HintMode.NONE, "the node has no zone label"
    if any(zone in endpoint.zone_hints for endpoint in ready):
        return HintMode.SAME_ZONE, ""
    return HintMode.NONE, f"no ready endpoint is hinted for zone {zone}"


def why_passed_over(
    endpoints: Iterable[Endpoint], selection: Selection, port: ServicePort
) -> dict[str, tuple[Endpoint, PassedOver]]:
    """Return, by address, each endpoint that no list holds and the reason.

    For a port that uses both lists the cluster list's reason counts: it is the wider one.
    """
    chosen = {endpoint.address for endpoint in selection.reachable}
    passed: dict[str, tuple[Endpoint, PassedOver]] = {}
    for endpoint in endpoints:
        if endpoint.address not in chosen:
            passed[endpoint.address] = (endpoint, _reason(endpoint, selection, port))
    return passed


def _reason(endpoint: Endpoint, selection: Selection, port: ServicePort) -> PassedOver:
    if not endpoint.ready:
        if not endpoint.terminating:
            return PassedOver.NOT_READY
        if not endpoint.serving:
            return PassedOver.NOT_SERVING
        if port.uses_cluster_endpoints or endpoint.local:
            return PassedOver.TERMINATING
    if not port.uses_cluster_endpoints and not endpoint.local:
        return PassedOver.OTHER_NODE
    return (
        PassedOver.HINTED_ELSEWHERE_NODE if selection.hints is HintMode.SAME_NODE else PassedOver.HINTED_ELSEWHERE_ZONE
    )


def _those(endpoints: tuple[Endpoint, ...], chosen: list[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the chosen ones, as the same object where they are all: thousands of Services keep these lists."""
    return endpoints if len(chosen) == len(endpoints) else tuple(chosen)


def _hinted_here(endpoint: Endpoint, mode: HintMode, node_name: str, zone: str) -> bool:
    return node_name in endpoint.node_hints if mode is HintMode.SAME_NODE else zone in endpoint.zone_hints


def _union(cluster: tuple[Endpoint, ...], local: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    by_address = {endpoint.address: endpoint for endpoint in (*cluster, *local)}
    if len(by_address) == len(cluster):
        return cluster
    return tuple(by_address[address] for address in sorted(by_address))
