"""Endpoints and Services that leave: what is kept for their connections, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.plan.ipvs.filter import DRAINING, VIPS
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.nftables.packing import pack_frontend, pack_ip
from tests.plan.ipvs.rig import NODE_IP, SETTINGS, C, FakeKernel, count, entered, intents


def weights(kernel: FakeKernel) -> dict[str, int]:
    return {destination.ip: weight for destination, weight in kernel.destinations.items()}


def leave(protocol: str = "TCP") -> tuple[FakeKernel, IpvsServers]:
    kernel = FakeKernel()
    ports: dict[str, Any] = {"ports": [{"port": 80, "protocol": protocol}]}
    plan = entered(kernel, **ports)
    plan.set_service("ns1/svc1", intents("b1", **ports))
    kernel.sync(plan)
    return kernel, plan


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
