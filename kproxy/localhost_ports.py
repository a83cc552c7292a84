"""The node ports that are relayed on localhost, of both families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dataplane.relay import Relay
from kproxy.plan.localhost_ports import localhost_ports, names_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.config import Config
    from kproxy.metrics.registry import Metrics
    from kproxy.plan.intent import PortIntent
    from kproxy.plan.localhost_ports import LocalhostPort
    from kproxy.state.addresses import Family


class LocalhostPorts:
    """Nothing at all, unless the configuration asks for it. A port is served once its Service's rules are there."""

    def __init__(self, config: Config, families: Iterable[Family], metrics: Metrics) -> None:
        relayed = names_loopback(config.node_port_addresses) if config.localhost_relay else frozenset()
        self._metrics = {family: metrics.family(family) for family in families if family in relayed}
        self._relays = {
            family: Relay(family, of_family.localhost_listener_failures.inc)
            for family, of_family in self._metrics.items()
        }
        self._services: dict[Family, dict[str, tuple[LocalhostPort, ...]]] = {family: {} for family in self._relays}
        self._due: set[Family] = set()

    def set_service(self, family: Family, key: str, intents: Iterable[PortIntent]) -> None:
        """Enter, replace or (without intents) remove a Service."""
        if family not in self._relays:
            return
        services, ports = self._services[family], localhost_ports(intents)
        if ports == services.get(key, ()):
            return
        self._due.add(family)
        if ports:
            services[key] = ports
        else:
            del services[key]

    def serve(self, synced: Iterable[Family]) -> None:
        """Serve what the families want that were just `synced`, and try again what could not be listened on."""
        for family in self._due.intersection(synced):
            wanted = {port.port: port for ports in self._services[family].values() for port in ports}
            relay = self._relays[family]
            relay.serve(wanted)
            self._metrics[family].localhost_listeners.set(relay.count)
            if relay.count == len(wanted):
                self._due.discard(family)

    def close(self) -> None:
        """Stop serving."""
        for relay in self._relays.values():
            relay.close()
