"""The health check node ports of both families together: which are served, and since when with which count."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import chain
from typing import TYPE_CHECKING

from kproxy.events.event import health_check_failed
from kproxy.health.service import desired_listeners
from kproxy.health.service_listeners import ServiceHealthListeners
from kproxy.plan.node_ports import parse_node_port_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.config import Config
    from kproxy.events.log import EventLog
    from kproxy.health.shared import ProxierHealth
    from kproxy.plan.family import FamilyPlan
    from kproxy.plan.service_health import ServiceHealth
    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo


class HealthChecks:
    """Keeps to what each family wanted when it was last synced: an endpoint counts once the kernel knows it."""

    def __init__(self, config: Config, families: Iterable[Family], health: ProxierHealth, events: EventLog) -> None:
        self._config = config
        self._health = health
        self._events = events
        self._listeners: ServiceHealthListeners | None = None
        self._wanted: dict[Family, tuple[ServiceHealth, ...]] = {}
        self._families = tuple(families)
        self._outdated = set(self._families)
        self._due = False

    def outdated(self, family: Family) -> None:
        """Note that the family wants something else from its next sync on."""
        self._outdated.add(family)

    def serve(
        self,
        synced: Iterable[Family],
        plans: Mapping[Family, FamilyPlan],
        node: NodeInfo,
        addresses: Mapping[Family, tuple[str, ...]],
    ) -> None:
        """Take over what the families want that were just `synced`, and try again what could not be opened."""
        for family in self._outdated.intersection(synced):
            self._outdated.discard(family)
            self._wanted[family] = tuple(plans[family].service_health())
            self._due = True
        if not self._due:
            return
        if self._listeners is None:
            # The addresses are looked at once, as in kube-proxy, but only now is it known what `primary` stands for.
            restricted = self._restricted(node, addresses)
            self._listeners = ServiceHealthListeners(self._health, addresses=map(ip_address, restricted))
        failures = self._listeners.sync(desired_listeners(chain.from_iterable(self._wanted.values())))
        for failure in failures:
            self._events.record(health_check_failed(*failure.service, self._config.node_name, str(failure.error)))
        self._due = bool(failures)

    def close(self) -> None:
        """Stop serving."""
        if self._listeners is not None:
            self._listeners.close()

    def _restricted(self, node: NodeInfo, addresses: Mapping[Family, tuple[str, ...]]) -> Iterable[str]:
        """Yield the addresses to listen on, where not on all."""
        node_ports = parse_node_port_addresses(self._config.node_port_addresses, node.ips)
        for family in self._families:
            if not node_ports.matches_all(family):
                yield from node_ports.matching(family, addresses[family])
