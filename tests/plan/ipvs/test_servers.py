"""From Services to what the kernel holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kproxy.errors import OwnAddress
from kproxy.plan.ipvs.servers import IpvsServers
from tests.plan.ipvs.rig import ENDPOINT, NODE_IP, SETTINGS, C, FakeKernel, at_node_port, count, entered, intents


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
    assert count(kernel, plan, 0.0)
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
    count(kernel, plan, 0.0)
    assert kernel.addresses == {"172.30.0.42", "192.0.2.41"}
    plan.set_service("ns1/other", ())
    kernel.sync(plan)
    count(kernel, plan, 0.0)
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


@pytest.mark.parametrize("first", ["ns1/svc0", "ns1/svc1"])
def test_two_services_change_places(first: str) -> None:
    """Whichever is entered first: what is the other one's now sends nothing new to an endpoint of the first."""
    kernel, plan = FakeKernel(), IpvsServers(SETTINGS)
    second = {"ns1/svc0": "ns1/svc1", "ns1/svc1": "ns1/svc0"}[first]
    for key, port in ((first, 30080), (second, 30081)):
        plan.set_service(key, at_node_port(key, port))
    kernel.sync(plan)
    for key, port in ((first, 30081), (second, 30080)):
        plan.set_service(key, at_node_port(key, port))
    kernel.sync(plan)
    serving = {(one.server.port, one.ip) for one, weight in kernel.destinations.items() if weight}
    assert {(port, ip) for port, ip in serving if port != 80} == {(30081, ENDPOINT[first]), (30080, ENDPOINT[second])}


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
    assert isinstance(plan.taken["ns1/svc1"], OwnAddress), "and told by an Event"
    plan.set_service("ns1/svc1", intents(type="LoadBalancer", ingress=[{"ip": NODE_IP}]))
    assert not isinstance(plan.taken["ns1/svc1"], OwnAddress), "all nodes would tell it, where a load balancer does so"
    plan.set_service("ns1/svc1", intents())
    assert not plan.taken


def test_node_ports_follow_the_nodes_addresses() -> None:
    kernel = FakeKernel()
    plan = entered(kernel, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    plan.configure(msgspec.structs.replace(SETTINGS, node_port_ips=("192.168.9.9",)), elsewhere=())
    kernel.sync(plan)
    count(kernel, plan, 0.0)
    assert [line for line in kernel.listed() if ":30080 -s" in line] == ["-A TCP 192.168.9.9:30080 -s rr"]
