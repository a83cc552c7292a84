"""Health check node ports: what each Service's listener answers, and which listeners to open and close.

A Service of type LoadBalancer with externalTrafficPolicy Local has a port on every node (spec.healthCheckNodePort) at
which its load balancer asks whether this node has endpoints of its own. Any path and any method get the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kproxy.health.answer import Answer, health_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.service_health import ServiceHealth

ServiceKey = tuple[str, str]
"""(namespace, name)."""


def desired_listeners(wishes: Iterable[ServiceHealth]) -> dict[ServiceKey, tuple[int, int]]:
    """Merge the wishes of both families into (namespace, name) -> (port, count).

    A pod of a dual-stack Service has an endpoint in each family, so the larger count is the number of pods, where
    the sum would be twice that.
    """
    desired: dict[ServiceKey, tuple[int, int]] = {}
    for wish in wishes:
        key = (wish.namespace, wish.name)
        _, count = desired.get(key, (0, 0))
        desired[key] = (wish.port, max(count, wish.local_endpoints))
    return desired


@dataclass(frozen=True, slots=True)
class ListenerChanges:
    """What to do, in this order: close, then open. `refused` can't be done: another Service holds the port."""

    close: tuple[ServiceKey, ...] = ()
    open: tuple[tuple[ServiceKey, int], ...] = ()
    refused: tuple[tuple[ServiceKey, int, ServiceKey], ...] = ()
    """(Service, port, the Service that holds it)."""


def listener_changes(
    open_ports: Mapping[ServiceKey, int], desired: Mapping[ServiceKey, tuple[int, int]]
) -> ListenerChanges:
    """Compare the ports that are open with (namespace, name) -> (port, count).

    A Service that moves to another port is closed and opened. Of two that want one port the one that has it keeps
    it, else the first by name gets it.
    """
    kept = {key: port for key, port in open_ports.items() if key in desired and desired[key][0] == port}
    holders = {port: key for key, port in kept.items()}
    to_open: list[tuple[ServiceKey, int]] = []
    refused: list[tuple[ServiceKey, int, ServiceKey]] = []
    for key in sorted(desired.keys() - kept.keys()):
        port = desired[key][0]
        holder = holders.setdefault(port, key)
        if holder == key:
            to_open.append((key, port))
        else:
            refused.append((key, port, holder))
    return ListenerChanges(tuple(sorted(open_ports.keys() - kept.keys())), tuple(to_open), tuple(refused))


def service_answer(service: ServiceKey, local_endpoints: int, proxier_alive: bool) -> Answer:
    """Answer a request at the Service's health check port: 200 with local endpoints and a live proxier, else 503.

    The node's eligibility does not matter here: a load balancer must be able to drain a node that still works.
    """
    namespace, name = service
    return health_answer(
        local_endpoints > 0 and proxier_alive,
        {
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": local_endpoints,
            "serviceProxyHealthy": proxier_alive,
        },
        extra=(("X-Load-Balancing-Endpoint-Weight", str(local_endpoints)),),
        indent="\t",
    )
