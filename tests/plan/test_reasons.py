"""Every no has its reason, in words that an operator can act on."""

from __future__ import annotations

import pytest

from kproxy.plan.intent import plan_port
from kproxy.plan.reasons import reasons
from kproxy.state.addresses import Family
from kproxy.state.endpoints import Endpoint
from kproxy.state.node import NodeInfo
from kproxy.state.service import ServicePort, ServicePortName

NODE = NodeInfo("node-a", zone="west")
NO_LOCAL = "it has no local endpoints (pods and the node itself are served)"
NAME = ServicePortName("shop", "web", "http", "TCP")


def port(**fields: object) -> ServicePort:
    return ServicePort(NAME, Family.IPV4, "10.96.0.10", 80, **fields)  # type: ignore[arg-type]


def endpoint(number: int, **fields: object) -> Endpoint:
    ip = f"10.244.1.{number}"
    return Endpoint(f"{ip}:8080", ip, 8080, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service_port", "endpoints", "lines"),
    [
        (port(), [endpoint(1)], []),
        (port(), [], ["cluster IP 10.96.0.10:80 rejects: it has no endpoints"]),
        (
            port(),
            [endpoint(1), endpoint(2, ready=False)],
            ["10.244.1.2:8080 is passed over: it is not ready"],
        ),
        (
            port(),
            [endpoint(1), endpoint(2, ready=False, terminating=True)],
            ["10.244.1.2:8080 is passed over: it is terminating, and ready endpoints exist"],
        ),
        (
            port(),
            [endpoint(1, zone_hints=("west",)), endpoint(2, zone_hints=("east",))],
            ["10.244.1.2:8080 is passed over: its hints name other zones"],
        ),
        (
            port(internal_local=True),
            [endpoint(1)],
            [
                "10.244.1.1:8080 is passed over: it is on another node, and the policy is Local",
                "cluster IP 10.96.0.10:80 drops: it has no local endpoints",
            ],
        ),
        (
            port(external_local=True, node_port=30080, load_balancer_vips=("198.51.100.1",)),
            [endpoint(1)],
            [
                f"loadbalancer IP 198.51.100.1:80 drops: {NO_LOCAL}",
                f"node port 30080 drops: {NO_LOCAL}",
            ],
        ),
    ],
)
def test_reasons(service_port: ServicePort, endpoints: list[Endpoint], lines: list[str]) -> None:
    found = list(reasons(plan_port(service_port, tuple(endpoints), NODE)))
    assert found == [f"shop/web:http (TCP): {line}" for line in lines]
