"""From Services to what the kernel holds: changes in any order end where a fresh start ends."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from kproxy.plan.ipvs.servers import IpvsServers
from tests.plan.ipvs.rig import NODE_IP, SETTINGS, FakeKernel, intents

C = "172.30.0.41"


def entered(kernel: FakeKernel, endpoints: str = "a1 b1", **spec: Any) -> IpvsServers:
    plan = IpvsServers(SETTINGS)
    plan.set_service("ns1/svc1", intents(endpoints, **spec))
    kernel.sync(plan)
    return plan


def test_a_service_comes_and_goes() -> None:
    kernel = FakeKernel()
    plan = entered(kernel)
    assert kernel.listed() == [
        f"-A TCP {C}:80 -s rr",
        f"-a TCP {C}:80 -r 10.180.0.1:8080 -w 1",
        f"-a TCP {C}:80 -r 10.180.1.1:8080 -w 1",
    ]
    assert kernel.addresses == {C}
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    assert (kernel.listed(), kernel.addresses) == ([], set())


def test_one_changed_endpoint_is_one_change() -> None:
    kernel = FakeKernel()
    plan = entered(kernel)
    plan.set_service("ns1/svc1", intents("a1 b1 b2"))
    difference = kernel.sync(plan)
    assert [str(destination) for destination in difference.add_destinations] == [f"10.180.1.2:8080 of TCP {C}:80"]
    assert sum(map(len, msgspec.structs.astuple(difference))) == 1


def test_a_restart_on_the_same_state_sends_nothing() -> None:
    kernel = FakeKernel()
    entered(kernel, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    plan = IpvsServers(SETTINGS)
    plan.set_service("ns1/svc1", intents(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
    kernel.read_into(plan)
    assert not plan.difference()


def test_two_services_share_an_address_until_the_last_one_goes() -> None:
    kernel = FakeKernel()
    plan = IpvsServers(SETTINGS)
    plan.set_service("ns1/web", intents(name="ns1/web", externalIPs=["192.0.2.41"]))
    other: dict[str, Any] = {"externalIPs": ["192.0.2.41"], "clusterIP": "172.30.0.42", "ports": [{"port": 81}]}
    plan.set_service("ns1/other", intents(name="ns1/other", **other))
    kernel.sync(plan)
    plan.set_service("ns1/web", ())
    kernel.sync(plan)
    assert kernel.addresses == {"172.30.0.42", "192.0.2.41"}
    plan.set_service("ns1/other", ())
    kernel.sync(plan)
    assert kernel.addresses == set()


def test_a_virtual_server_passes_to_another_service() -> None:
    """The new owner may be entered before the old one is taken away."""
    kernel = FakeKernel()
    plan = entered(kernel)
    plan.set_service("ns1/heir", intents("b1 b2", name="ns1/heir"))
    plan.set_service("ns1/svc1", ())
    plan.set_service("ns1/heir", intents("b1 b2", name="ns1/heir"))
    kernel.sync(plan)
    assert f"-a TCP {C}:80 -r 10.180.1.2:8080 -w 1" in kernel.listed()
    assert kernel.addresses == {C}


def test_an_address_that_another_link_has_is_served_there() -> None:
    """As keepalived and kube-vip leave it: their address is not taken a second time."""
    kernel = FakeKernel()
    plan = entered(kernel, externalIPs=["192.0.2.41"])
    plan.configure(SETTINGS, elsewhere=(NODE_IP, "192.0.2.41"))
    kernel.sync(plan)
    assert kernel.addresses == {C}
    assert "-A TCP 192.0.2.41:80 -s rr" in kernel.listed()
    plan.configure(SETTINGS, elsewhere=(NODE_IP,))
    kernel.sync(plan)
    assert kernel.addresses == {C, "192.0.2.41"}


def test_the_nodes_own_address_is_refused_and_named() -> None:
    kernel = FakeKernel()
    plan = entered(kernel, externalIPs=[NODE_IP])
    assert kernel.addresses == {C}
    assert not any(NODE_IP in line for line in kernel.listed())
    assert str(plan.taken["ns1/svc1"]).startswith(f"Service ns1/svc1: spec.externalIPs: {NODE_IP} is an address of")
    plan.set_service("ns1/svc1", intents())
    assert not plan.taken


def test_node_ports_follow_the_nodes_addresses() -> None:
    kernel = FakeKernel()
    plan = entered(kernel, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    plan.configure(msgspec.structs.replace(SETTINGS, node_port_ips=("192.168.9.9",)), elsewhere=())
    kernel.sync(plan)
    assert [line for line in kernel.listed() if ":30080 -s" in line] == ["-A TCP 192.168.9.9:30080 -s rr"]


# --- endpoints that leave ---


def weights(kernel: FakeKernel) -> dict[str, int]:
    return {destination.ip: weight for destination, weight in kernel.destinations.items()}


def leave(protocol: str = "TCP") -> tuple[FakeKernel, IpvsServers]:
    kernel = FakeKernel()
    ports: dict[str, Any] = {"ports": [{"port": 80, "protocol": protocol}]}
    plan = entered(kernel, **ports)
    plan.set_service("ns1/svc1", intents("b1", **ports))
    kernel.sync(plan)
    return kernel, plan


def count(kernel: FakeKernel, plan: IpvsServers, now_s: float, connections: int) -> bool:
    """One look at the kernel, if it is due."""
    due = plan.drain.due(now_s)
    counted = [(destination, connections) for destination in kernel.destinations if destination.server in due]
    plan.drained(plan.drain.looked(now_s, counted)) if due else None
    kernel.sync(plan)
    return bool(due)


def test_a_tcp_endpoint_that_leaves_drains() -> None:
    kernel, plan = leave()
    assert weights(kernel) == {"10.180.0.1": 0, "10.180.1.1": 1}
    assert count(kernel, plan, 100.0, connections=3)
    assert weights(kernel) == {"10.180.0.1": 0, "10.180.1.1": 1}
    assert not count(kernel, plan, 101.0, connections=0), "it was looked at a second ago"
    assert count(kernel, plan, 111.0, connections=0)
    assert weights(kernel) == {"10.180.1.1": 1}
    assert not plan.drain.due(1000.0)


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_other_protocols_do_not_wait(protocol: str) -> None:
    kernel, _ = leave(protocol)
    assert weights(kernel) == {"10.180.1.1": 1}


def test_a_udp_endpoint_that_terminates_keeps_its_flows_while_it_serves() -> None:
    """Reference row 97; also over a restart."""
    kernel = FakeKernel()
    ports: dict[str, Any] = {"ports": [{"port": 80, "protocol": "UDP"}]}
    plan = entered(kernel, "a1", **ports)
    plan.set_service("ns1/svc1", intents("a1!term b1", **ports))
    kernel.sync(plan)
    assert weights(kernel) == {"10.180.0.1": 0, "10.180.1.1": 1}
    again = IpvsServers(SETTINGS)
    again.set_service("ns1/svc1", intents("a1!term b1", **ports))
    kernel.read_into(again)
    assert not again.difference()
    again.set_service("ns1/svc1", intents("a1!left b1", **ports))
    kernel.sync(again)
    assert weights(kernel) == {"10.180.1.1": 1}


def test_an_endpoint_that_returns_is_used_at_once() -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", intents("a1 b1"))
    kernel.sync(plan)
    assert weights(kernel) == {"10.180.0.1": 1, "10.180.1.1": 1}
    assert not plan.drain.due(1000.0)


def test_the_last_endpoint_drains_too() -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", intents(""))
    kernel.sync(plan)
    assert weights(kernel) == {"10.180.0.1": 0, "10.180.1.1": 0}


def test_a_deleted_service_takes_what_drains_along() -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    assert (weights(kernel), len(plan.drain)) == ({}, 0)


def test_draining_survives_a_restart() -> None:
    kernel, _ = leave()
    plan = IpvsServers(SETTINGS)
    plan.set_service("ns1/svc1", intents("b1"))
    kernel.read_into(plan)
    assert not plan.difference()
    assert count(kernel, plan, 0.0, connections=0)
    assert weights(kernel) == {"10.180.1.1": 1}


def test_an_endpoint_that_left_while_nobody_looked_drains() -> None:
    kernel = FakeKernel()
    entered(kernel)
    plan = IpvsServers(SETTINGS)
    plan.set_service("ns1/svc1", intents("b1"))
    kernel.read_into(plan)
    kernel.sync(plan)
    assert weights(kernel) == {"10.180.0.1": 0, "10.180.1.1": 1}


def test_what_drained_before_a_read_back_is_not_made_again() -> None:
    """Somebody deleted it by hand meanwhile."""
    kernel, plan = leave()
    kernel.destinations = {one: weight for one, weight in kernel.destinations.items() if weight}
    kernel.read_into(plan)
    assert not plan.difference()


def test_a_weight_that_was_changed_by_hand_is_repaired() -> None:
    kernel = FakeKernel()
    plan = entered(kernel)
    kernel.destinations = dict.fromkeys(kernel.destinations, 0)
    kernel.read_into(plan)
    kernel.sync(plan)
    assert set(weights(kernel).values()) == {1}


# --- any order ---

CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("a1", {}),
    ("a1 b1", {"externalIPs": ["192.0.2.41"], "externalTrafficPolicy": "Local"}),
    ("b1 b2", {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}]}),
    ("a1 a2 b1", {"annotations": {"kproxy.dev/ipvs-scheduler": "lc"}}),
    ("a2!term", {"type": "LoadBalancer", "ingress": [{"ip": "203.0.113.41"}]}),
]


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
    kernel.sync(plan)
    count(kernel, plan, 1e9, connections=0)
    fresh, again = FakeKernel(), IpvsServers(SETTINGS)
    for key, wanted in last.items():
        again.set_service(key, wanted)
    fresh.sync(again)
    assert kernel.listed() == fresh.listed()
    assert kernel.addresses == fresh.addresses
