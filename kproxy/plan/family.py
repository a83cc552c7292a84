"""All intents of one IP family, kept up to date Service by Service, and what follows from them besides rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kproxy.errors import ObjectError
from kproxy.plan.intent import Verdict, plan_port
from kproxy.plan.service_health import ServiceHealth
from kproxy.plan.stale_flows import UdpFrontend
from kproxy.plan.udp_frontends import UdpFrontends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.intent import PortIntent
    from kproxy.state.addresses import Family
    from kproxy.state.cluster import ClusterState

V = TypeVar("V")

AFFINITY = "session affinity"


class Planned(NamedTuple):
    """What planning again has changed: `services` by name, and whether any `health_checks` are to be served anew."""

    services: list[str]
    health_checks: bool


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
        self.udp = UdpFrontends()
        self._no_local: dict[str, tuple[int, int]] = {}
        self._no_local_sums = [0, 0]
        self._health: dict[str, ServiceHealth] = {}

    def update(self, state: ClusterState, keys: Iterable[str]) -> Planned:
        """Plan these Services again, from the state as it is now.

        A Service counts as changed when its intents or its health check node port are not what they were.
        """
        planned = Planned([], False)
        for key in keys:
            intents = self._intents(state, key)
            check_port = self.health_check_node_port(key)
            health = _service_health(state, key, intents)
            if health != self._health.get(key):
                _put(self._health, key, health)
                planned = Planned(planned.services, True)
            if intents != self.intents.get(key, ()):
                _put(self.intents, key, intents)
                self.udp.set_service(key, _udp_frontends(intents))
                self._count_no_local(key, intents)
            elif self.health_check_node_port(key) == check_port:
                continue
            planned.services.append(key)
        return planned

    def health_check_node_port(self, key: str) -> int:
        """Return the health check node port of a Service; 0 without one."""
        health = self._health.get(key)
        return health.port if health else 0

    def service_health(self) -> Iterable[ServiceHealth]:
        """Return the health checks to serve."""
        return self._health.values()

    def no_local_endpoints(self) -> tuple[int, int]:
        """Return how many service ports drop for want of a local endpoint: (internal, external) policy."""
        internal, external = self._no_local_sums
        return internal, external

    def _intents(self, state: ClusterState, key: str) -> tuple[PortIntent, ...]:
        intents = tuple(plan_port(port, endpoints, state.node) for port, endpoints in state.ports(key, self.family))
        self.refused.pop(key, None)
        lacking = next((what for intent in intents for what in _needs(intent) if what in self._unsupported), None)
        if lacking is None:
            return intents
        self.refused[key] = ObjectError(f"Service {key}", "", f"{self._unsupported[lacking]}; skipped")
        return ()

    def _count_no_local(self, key: str, intents: Iterable[PortIntent]) -> None:
        before, now = self._no_local.get(key, (0, 0)), _no_local(intents)
        for policy in range(2):
            self._no_local_sums[policy] += now[policy] - before[policy]
        _put(self._no_local, key, now if any(now) else None)


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


def _no_local(intents: Iterable[PortIntent]) -> tuple[int, int]:
    internal = external = 0
    for intent in intents:
        internal += intent.internal is Verdict.DROP
        external += intent.external is Verdict.DROP and intent.port.externally_accessible
    return internal, external


def _service_health(state: ClusterState, key: str, intents: Iterable[PortIntent]) -> ServiceHealth | None:
    service = state.services.get(key)
    if service is None or not service.health_check_node_port or not intents:
        return None
    ready = {endpoint.ip for intent in intents for endpoint in intent.endpoints if endpoint.local and endpoint.ready}
    return ServiceHealth(service.namespace, service.name, service.health_check_node_port, len(ready))
