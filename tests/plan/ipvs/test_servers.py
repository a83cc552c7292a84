"""From Services to what the kernel holds: changes in any order end where a fresh start ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from kproxy.errors import OwnAddress
from kproxy.plan.ipvs.filter import DRAINING, VIPS
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.nftables.packing import pack_frontend, pack_ip
from tests.plan.ipvs.rig import NODE_IP, SETTINGS, FakeKernel, intents

if TYPE_CHECKING:
    from kproxy.plan.intent import PortIntent

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


ENDPOINT = {"ns1/svc0": "10.180.0.1", "ns1/svc1": "10.180.1.1", "ns1/svc2": "10.180.0.2"}


def at_node_port(key: str, node_port: int, protocol: str = "TCP") -> tuple[PortIntent, ...]:
    """One of three Services, with one endpoint of its own, at a node port."""
    number = int(key[-1])
    ports = [{"port": 80, "nodePort": node_port, "protocol": protocol}]
    cluster_ip = f"172.30.0.{number + 41}"
    return intents(("a1", "b1", "a2")[number], name=key, type="NodePort", clusterIP=cluster_ip, ports=ports)


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


def count(kernel: FakeKernel, plan: IpvsServers, now_s: float, connections: int = 0) -> bool:
    """One look at the kernel, if it is due."""
    due = plan.drain.due(now_s)
    counted = {destination: connections for destination in kernel.destinations if destination.server in due}
    plan.drained(plan.drain.looked(now_s, due, counted)) if due else None
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


def test_a_destination_that_somebody_else_deleted_is_not_waited_for() -> None:
    _, plan = leave()
    plan.drained(plan.drain.looked(0.0, plan.drain.due(0.0), {}))
    assert len(plan.drain) == 0
    assert [one.ip for one in plan.difference().delete_destinations] == ["10.180.0.1"]


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


# --- virtual servers that leave ---

NODE_PORT: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
KEY = pack_frontend(C, "TCP", 80)


def test_a_service_that_goes_is_there_for_its_connections() -> None:
    kernel, plan = leave()
    plan.take_elements()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    assert (weights(kernel), kernel.addresses) == ({"10.180.0.1": 0, "10.180.1.1": 0}, {C})
    assert plan.take_elements() == {(DRAINING, KEY): True, (VIPS, pack_ip(C)): True}
    assert not plan.owners
    assert count(kernel, plan, 100.0, connections=3)
    assert not count(kernel, plan, 101.0)
    assert count(kernel, plan, 111.0)
    assert (kernel.listed(), kernel.addresses, len(plan.drain)) == ([], set(), 0)
    assert plan.take_elements() == {(DRAINING, KEY): False, (VIPS, pack_ip(C)): False}


def test_it_is_looked_at_at_once_and_then_as_often_as_the_others() -> None:
    kernel, plan = leave()
    assert count(kernel, plan, 100.0, connections=1)
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    assert count(kernel, plan, 101.0, connections=1)
    assert not count(kernel, plan, 102.0)
    assert count(kernel, plan, 110.0)
    assert kernel.listed() == []


def test_its_destinations_go_one_by_one() -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    first, second = sorted(kernel.destinations)
    plan.drained(plan.drain.looked(0.0, plan.drain.due(0.0), {first: 0, second: 1}))
    kernel.sync(plan)
    assert (weights(kernel), kernel.addresses) == ({"10.180.1.1": 0}, {C})


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_a_service_of_another_protocol_goes_at_once(protocol: str) -> None:
    kernel, plan = leave(protocol)
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    assert (kernel.listed(), kernel.addresses) == ([], set())


def test_a_frontend_goes_while_its_service_stays() -> None:
    kernel = FakeKernel()
    plan = entered(kernel, **NODE_PORT)
    plan.set_service("ns1/svc1", intents())
    kernel.sync(plan)
    drained = [line for line in kernel.listed() if line.endswith("-w 0")]
    assert len(drained) == 4, "two endpoints on two addresses"
    assert all(":30080 -r" in line for line in drained)
    count(kernel, plan, 0.0)
    assert [line for line in kernel.listed() if line.startswith("-A")] == [f"-A TCP {C}:80 -s rr"]


def test_a_service_that_returns_is_used_at_once() -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    plan.take_elements()
    plan.set_service("ns1/svc1", intents("b1 b2", annotations={"kproxy.dev/ipvs-scheduler": "lc"}))
    kernel.sync(plan)
    assert weights(kernel) == {"10.180.0.1": 0, "10.180.1.1": 1, "10.180.1.2": 1}
    assert f"-A TCP {C}:80 -s lc" in kernel.listed()
    assert plan.take_elements()[DRAINING, KEY] is False
    count(kernel, plan, 100.0)
    assert (weights(kernel), kernel.addresses) == ({"10.180.1.1": 1, "10.180.1.2": 1}, {C})
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    count(kernel, plan, 200.0)
    assert kernel.addresses == set(), "nobody holds on to the address"


@pytest.mark.parametrize("connections", [0, 1])
def test_a_restart_finds_it_again(connections: int) -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    held = kernel.listed()
    again = IpvsServers(SETTINGS)
    kernel.read_into(again)
    assert not again.difference()
    assert again.take_elements() == {(DRAINING, KEY): True, (VIPS, pack_ip(C)): True}
    count(kernel, again, 0.0, connections)
    assert (kernel.listed(), kernel.addresses) == ((held, {C}) if connections else ([], set()))


def test_one_that_was_deleted_by_hand_is_forgotten() -> None:
    kernel, plan = leave()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    kernel.servers, kernel.destinations = {}, {}
    kernel.read_into(plan)
    kernel.sync(plan)
    assert (kernel.listed(), kernel.addresses, len(plan.drain)) == ([], set(), 0)


def test_its_address_may_become_the_nodes_own() -> None:
    """Then it is not taken from the node, and keeps no guard."""
    kernel, plan = leave()
    plan.set_service("ns1/svc1", ())
    kernel.sync(plan)
    plan.configure(SETTINGS, elsewhere=(NODE_IP, C))
    kernel.sync(plan)
    assert kernel.addresses == set()
    assert plan.take_elements()[VIPS, pack_ip(C)] is False


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
    count(kernel, plan, 1e9)
    fresh, again = FakeKernel(), IpvsServers(SETTINGS)
    for key, wanted in last.items():
        again.set_service(key, wanted)
    fresh.sync(again)
    assert kernel.listed() == fresh.listed()
    assert kernel.addresses == fresh.addresses


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
    kernel.sync(plan)
    count(kernel, plan, 1e9)
    fresh, again = FakeKernel(), IpvsServers(SETTINGS)
    for key, wanted in last.items():
        again.set_service(key, wanted)
    fresh.sync(again)
    assert (kernel.listed(), kernel.addresses) == (fresh.listed(), fresh.addresses)
    assert len(plan.drain) == 0
