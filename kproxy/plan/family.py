"""All intents of one IP family, kept up to date Service by Service, and what follows from them besides rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kproxy.errors import ObjectError
from kproxy.plan.intent import Verdict, plan_port
from kproxy.plan.service_health import ServiceHealth
from kproxy.plan.stale_flows import UdpFrontend

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.stale_flows import ServingEndpoints
    from kproxy.state.addresses import Family
    from kproxy.state.cluster import ClusterState

V = TypeVar("V")

AFFINITY = "session affinity"


class FamilyPlan:
    """What this node does for every service port of one family.

    `unsupported` says what this kernel can't do ("SCTP", "session affinity") and why; a Service that needs it is
    named and gets no rules, the others go on.
    """

    def __init__(self, family: Family, unsupported: Mapping[str, str] | None = None) -> None:
        self.family = family
        self.intents: dict[str, tuple[PortIntent, ...]] = {}
        self.refused: dict[str, ObjectError] = {}
        self._unsupported = dict(unsupported or {})
        self._udp: dict[str, dict[UdpFrontend, frozenset[str]]] = {}
        self._no_local: dict[str, tuple[int, int]] = {}
        self._health: dict[str, ServiceHealth] = {}

    def update(self, state: ClusterState, keys: Iterable[str]) -> None:
        """Plan these Services again, from the state as it is now."""
        for key in keys:
            intents = tuple(plan_port(port, endpoints, state.node) for port, endpoints in state.ports(key, self.family))
            self.refused.pop(key, None)
            lacking = next((what for intent in intents for what in _needs(intent) if what in self._unsupported), None)
            if lacking is not None:
                self.refused[key] = ObjectError(f"Service {key}", "", f"{self._unsupported[lacking]}; skipped")
                intents = ()
            _put(self.intents, key, intents)
            _put(self._udp, key, _udp_frontends(intents))
            _put(self._no_local, key, _count_no_local(intents))
            _put(self._health, key, _service_health(state, key, intents))

    def health_check_node_port(self, key: str) -> int:
        """Return the health check node port of a Service; 0 without one."""
        health = self._health.get(key)
        return health.port if health else 0

    def service_health(self) -> Iterable[ServiceHealth]:
        """Return the health checks to serve."""
        return self._health.values()

    def serving_udp(self) -> ServingEndpoints:
        """Return every UDP frontend with the endpoints that serve it, for the conntrack clean-up."""
        return {frontend: serving for frontends in self._udp.values() for frontend, serving in frontends.items()}

    def no_local_endpoints(self) -> tuple[int, int]:
        """Return how many service ports drop for want of a local endpoint: (internal, external) policy."""
        counts = self._no_local.values()
        return sum(count[0] for count in counts), sum(count[1] for count in counts)


def _put(held: dict[str, V], key: str, value: V | None) -> None:
    if value:
        held[key] = value
    else:
        held.pop(key, None)


def _needs(intent: PortIntent) -> Iterable[str]:
    yield intent.port.protocol
    if intent.port.affinity_seconds is not None:
        yield AFFINITY


def _udp_frontends(intents: Iterable[PortIntent]) -> dict[UdpFrontend, frozenset[str]]:
    found: dict[UdpFrontend, frozenset[str]] = {}
    for intent in intents:
        if intent.port.protocol != "UDP":
            continue
        serving = frozenset(endpoint.address for endpoint in intent.endpoints if endpoint.serving)
        found[UdpFrontend(intent.port.cluster_ip, intent.port.port)] = serving
        for frontend in intent.external_frontends():
            found[UdpFrontend(frontend.ip or None, frontend.port)] = serving
    return found


def _count_no_local(intents: Iterable[PortIntent]) -> tuple[int, int] | None:
    internal = external = 0
    for intent in intents:
        internal += intent.internal is Verdict.DROP
        external += intent.external is Verdict.DROP and intent.port.externally_accessible
    return (internal, external) if internal or external else None


def _service_health(state: ClusterState, key: str, intents: Iterable[PortIntent]) -> ServiceHealth | None:
    service = state.services.get(key)
    if service is None or not service.health_check_node_port or not intents:
        return None
    ready = {endpoint.ip for intent in intents for endpoint in intent.endpoints if endpoint.local and endpoint.ready}
    return ServiceHealth(service.namespace, service.name, service.health_check_node_port, len(ready))
