"""Changes in any order end where a fresh start ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.plan.ipvs.servers import IpvsServers
from tests.plan.ipvs.rig import ENDPOINT, SETTINGS, FakeKernel, at_node_port, count, intents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kproxy.plan.intent import PortIntent


CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("a1", {}),
    ("a1 b1", {"externalIPs": ["192.0.2.41"], "externalTrafficPolicy": "Local"}),
    ("b1 b2", {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}]}),
    ("a1 a2 b1", {"annotations": {"kproxy.dev/ipvs-scheduler": "lc"}}),
    ("a2!term", {"type": "LoadBalancer", "ingress": [{"ip": "203.0.113.41"}]}),
]


def is_as_after_a_fresh_start(
    kernel: FakeKernel, plan: IpvsServers, last: Mapping[str, tuple[PortIntent, ...]]
) -> None:
    """Once all connections have ended, the kernel holds what a fresh start makes of the Services as they are `last`."""
    kernel.sync(plan)
    count(kernel, plan, 1e9)
    fresh, again = FakeKernel(), IpvsServers(SETTINGS)
    for key, wanted in last.items():
        again.set_service(key, wanted)
    fresh.sync(again)
    assert (kernel.listed(), kernel.addresses) == (fresh.listed(), fresh.addresses)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happened_the_end_is_that_of_a_fresh_start(seed: int) -> None:
    """But for what drains, which is looked at in the end."""
    dice = random.Random(seed)
    kernel, plan = FakeKernel(), IpvsServers(SETTINGS)
    last: dict[str, Any] = {}
    for _ in range(40):
        number = dice.randrange(4)
        key = f"ns1/svc{number}"
        endpoints, spec = dice.choice(CHOICES)
        last[key] = intents(endpoints, name=key, **{**spec, "clusterIP": f"172.30.0.{number}"})
        if "nodePort" in str(spec) or "ingress" in spec or "externalIPs" in spec:
            last = {k: v for k, v in last.items() if k == key or not v or v[0].port.externally_accessible is False}
            for other in range(4):
                if f"ns1/svc{other}" not in last:
                    plan.set_service(f"ns1/svc{other}", ())
        if dice.random() < 0.2:
            last[key] = ()
        plan.set_service(key, last[key])
        if dice.random() < 0.5:
            kernel.sync(plan)
        if dice.random() < 0.1:
            kernel.read_into(plan)
    is_as_after_a_fresh_start(kernel, plan, last)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_passes_from_one_service_to_another(seed: int) -> None:
    """Node ports change hands among three Services, some of them by way of nobody, in whatever order."""
    dice = random.Random(seed)
    kernel, plan = FakeKernel(), IpvsServers(SETTINGS)
    last: dict[str, tuple[PortIntent, ...]] = {}
    for _ in range(30):
        ports = dice.sample((30080, 30081, 30082, 30083), 3)
        now = {
            key: () if dice.random() < 0.2 else at_node_port(key, port, dice.choice(("TCP", "UDP")))
            for key, port in zip(ENDPOINT, ports, strict=True)
        }
        for key in dice.sample(list(now), 3):
            if now[key] != last.get(key):
                plan.set_service(key, now[key])
        last = now
        if dice.random() < 0.1:
            kernel.read_into(plan)
        if dice.random() < 0.7:
            kernel.sync(plan)
    is_as_after_a_fresh_start(kernel, plan, last)
    assert len(plan.drain) == 0
