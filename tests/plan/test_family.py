"""All intents of one family, Service by Service, and what follows from them besides rules."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.plan.family import FamilyPlan
from kproxy.plan.intent import Verdict
from kproxy.plan.service_health import ServiceHealth
from kproxy.plan.stale_flows import UdpFrontend
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from tests.state.objects import NODE, endpoint_slice, gone, here, node, service
from tests.state.shorthand import make_slice, wire_endpoint

if TYPE_CHECKING:
    from kproxy.kube import wire

V4, V6 = FAMILIES
UDP = {"name": "dns", "port": 53, "protocol": "UDP"}


def state_of(*objects: wire.KubeObject) -> ClusterState:
    state = ClusterState(NODE)
    state.apply(map(here, objects))
    return state


def planned(*objects: wire.KubeObject, family: Family = V4, unsupported: dict[str, str] | None = None) -> FamilyPlan:
    state = state_of(*objects)
    plan = FamilyPlan(family, unsupported)
    plan.update(state, state.take_dirty()[0])
    return plan


def slice_for(words: str, of: str = "ns1/svc1", family: Family = V4, **port: Any) -> wire.EndpointSlice:
    return make_slice(words, f"{of.partition('/')[2]}-{family}", of, family, [{"name": "", "port": 8080, **port}])


def test_services_come_and_go() -> None:
    web, ends = service(), slice_for("a1")
    state, plan = state_of(web, ends), FamilyPlan(V4)
    plan.update(state, state.take_dirty()[0])
    (intent,) = plan.intents["ns1/svc1"]
    assert intent.internal is Verdict.FORWARD
    state.apply([gone(ends)])
    plan.update(state, state.take_dirty()[0])
    assert plan.intents["ns1/svc1"][0].internal is Verdict.REJECT
    state.apply([gone(web)])
    plan.update(state, state.take_dirty()[0])
    assert plan.intents == {}


def test_only_what_is_asked_for_is_planned_again() -> None:
    state, plan = state_of(service(), slice_for("a1")), FamilyPlan(V4)
    plan.update(state, ["ns1/svc1"])
    before = plan.intents["ns1/svc1"]
    state.apply([here(slice_for("a1 b1"))])
    plan.update(state, [])
    assert plan.intents["ns1/svc1"] is before


def test_the_other_family_s_services_are_none_of_ours() -> None:
    plan = planned(service(ips=["fd00::41"]), slice_for("a1", family=V6), family=V4)
    assert plan.intents == {}
    plan = planned(service(ips=["fd00::41"]), slice_for("a1", family=V6), family=V6)
    assert plan.intents["ns1/svc1"][0].port.cluster_ip == "fd00::41"


def test_the_node_counts() -> None:
    plan = planned(service(), slice_for("a1@z1 b1@z2"), node(labels={"topology.kubernetes.io/zone": "z2"}))
    (intent,) = plan.intents["ns1/svc1"]
    assert [endpoint.ip for endpoint in intent.selection.cluster] == ["10.180.1.1"]


# What the kernel can't do.


def test_a_service_that_needs_what_is_missing_is_named_and_skipped() -> None:
    missing = {"SCTP": "the kernel has no sctp", "session affinity": "the kernel has no recent"}
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2, "protocol": "SCTP"}]
    sctp = service("ns1/sctp", clusterIP="172.30.0.1", ports=ports)
    sticky = service("ns1/sticky", clusterIP="172.30.0.2", sessionAffinity="ClientIP")
    plan = planned(sctp, sticky, service("ns1/web"), unsupported=missing)
    assert list(plan.intents) == ["ns1/web"]
    assert {key: str(problem) for key, problem in plan.refused.items()} == {
        "ns1/sctp": "Service ns1/sctp: the kernel has no sctp; skipped",
        "ns1/sticky": "Service ns1/sticky: the kernel has no recent; skipped",
    }


def test_a_service_that_no_longer_needs_it_is_taken_back() -> None:
    state = state_of(service(sessionAffinity="ClientIP"))
    plan = FamilyPlan(V4, {"session affinity": "no"})
    plan.update(state, ["ns1/svc1"])
    assert list(plan.refused) == ["ns1/svc1"]
    state.apply([here(service())])
    plan.update(state, ["ns1/svc1"])
    assert (list(plan.refused), list(plan.intents)) == ([], ["ns1/svc1"])


# Stale UDP flows (section 5): the serving endpoints of every UDP frontend, whatever policy and topology say.


def test_serving_udp() -> None:
    web = service(
        type="LoadBalancer",
        ports=[{**UDP, "nodePort": 30053}, {"name": "web", "port": 80}],
        externalIPs=["192.0.2.5"],
        ingress=[{"ip": "203.0.113.9"}],
        internalTrafficPolicy="Local",
    )
    ends = slice_for("a1 b1 b2!term b3!dead b4!unready", name="dns", port=5353, protocol="UDP")
    serving = frozenset(f"{ip}:5353" for ip in ("10.180.0.1", "10.180.1.1", "10.180.1.2", "10.180.1.4"))
    assert planned(web, ends).udp.serving == {
        UdpFrontend("172.30.0.41", 53): serving,
        UdpFrontend("192.0.2.5", 53): serving,
        UdpFrontend("203.0.113.9", 53): serving,
        UdpFrontend(None, 30053): serving,
    }


def test_a_udp_service_without_endpoints_is_listed_with_none() -> None:
    """Otherwise flows to its last endpoint would live on (kube-proxy 1.36 does that)."""
    assert planned(service(ports=[UDP])).udp.serving == {UdpFrontend("172.30.0.41", 53): frozenset()}


def test_tcp_and_sctp_are_never_cleaned_up() -> None:
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2, "protocol": "SCTP"}]
    assert planned(service(ports=ports)).udp.serving == {}


# Health checks (7.3) and the gauges of ports without local endpoints.


def local_lb(key: str = "ns1/svc1", **spec: Any) -> wire.Service:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000, **spec}
    return service(key, **{"ports": [{"port": 80, "nodePort": 30080}], **spec})


def test_health_counts_distinct_ready_addresses_here() -> None:
    ports = [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]
    ends = endpoint_slice(
        "s",
        [wire_endpoint(word) for word in ("a1", "a2", "a3!term", "a4!dead", "b1")],
        ports=[{"name": "a", "port": 8080}, {"name": "b", "port": 8081}],
    )
    plan = planned(local_lb(ports=ports), ends)
    assert list(plan.service_health()) == [ServiceHealth("ns1", "svc1", 31000, 2)]
    assert plan.health_check_node_port("ns1/svc1") == 31000


def test_health_is_served_without_endpoints_too() -> None:
    assert list(planned(local_lb()).service_health()) == [ServiceHealth("ns1", "svc1", 31000, 0)]


def test_no_health_check_where_it_is_not_needed() -> None:
    plan = planned(local_lb(externalTrafficPolicy="Cluster"))
    assert list(plan.service_health()) == []
    assert plan.health_check_node_port("ns1/svc1") == 0
    assert plan.health_check_node_port("ns1/none") == 0


def test_no_health_check_for_a_service_that_is_refused() -> None:
    plan = planned(local_lb(sessionAffinity="ClientIP"), unsupported={"session affinity": "no"})
    assert list(plan.service_health()) == []


def test_ports_that_drop_for_want_of_a_local_endpoint() -> None:
    internal = service("ns1/a", clusterIP="172.30.0.1", internalTrafficPolicy="Local")
    external = local_lb("ns1/b", clusterIP="172.30.0.2")
    nobody = service("ns1/c", clusterIP="172.30.0.3", internalTrafficPolicy="Local")
    at_home = service("ns1/d", clusterIP="172.30.0.4", internalTrafficPolicy="Local")
    ends = [slice_for("b1", of=f"ns1/{name}") for name in "ab"] + [slice_for("a1 b1", of="ns1/d")]
    plan = planned(internal, external, nobody, at_home, *ends)
    assert plan.no_local_endpoints() == (1, 1)


def test_etp_local_of_a_service_without_external_addresses_is_not_counted() -> None:
    plan = planned(local_lb(ports=[{"port": 80}]), slice_for("b1"))
    assert plan.no_local_endpoints() == (0, 0)


# What changed is told, and costs no more than that; the sums are the same as those of a plan that is made at once.


def test_what_changed_is_told() -> None:
    state, plan = state_of(local_lb(), slice_for("a1"), service("ns1/other", clusterIP="172.30.0.9")), FamilyPlan(V4)
    keys = ["ns1/svc1", "ns1/other", "ns1/none"]
    assert plan.update(state, keys) == (["ns1/svc1", "ns1/other"], True)
    assert plan.update(state, keys) == ([], False)
    state.apply([here(slice_for("a1 b1"))])
    assert plan.update(state, keys) == (["ns1/svc1"], False)
    state.apply([here(slice_for("a1 a2 b1"))])
    assert plan.update(state, keys) == (["ns1/svc1"], True)
    state.apply([here(local_lb(healthCheckNodePort=31001))])
    assert plan.update(state, keys) == (["ns1/svc1"], True)
    state.apply([gone(local_lb())])
    assert plan.update(state, keys) == (["ns1/svc1"], True)


@pytest.mark.parametrize("seed", range(10))
def test_step_by_step_is_as_all_at_once(seed: int) -> None:
    chance = random.Random(seed)
    state, plan = ClusterState(NODE), FamilyPlan(V4, {"session affinity": "no"})
    for _ in range(60):
        key = chance.choice(["ns1/a", "ns1/b", "ns1/c"])
        ip = f"172.30.0.{chance.randint(1, 3)}"  # they get in each other's way at times
        ports = [{**UDP, "nodePort": chance.choice([0, 30053])}, {"name": "web", "port": 80}][: chance.randint(1, 2)]
        words = " ".join(chance.sample(["a1", "a2!term", "b1", "b2!unready"], chance.randint(0, 4)))
        ends = slice_for(words, of=key, name="dns", port=5353, protocol="UDP")
        policies = {"internalTrafficPolicy": chance.choice(["Local", "Cluster"])}
        affinity = chance.choice(["None", "None", "ClientIP"])
        web = local_lb(key, clusterIP=ip, ports=ports, sessionAffinity=affinity, **policies)
        state.apply([chance.choice([here, here, gone])(obj) for obj in (web, ends) if chance.random() < 0.7])
        state.apply([here(node(labels={"topology.kubernetes.io/zone": "z1"}))] if chance.random() < 0.1 else [])
        dirty, node_changed = state.take_dirty()
        plan.update(state, [*dirty, *(state.services if node_changed else ())])
        at_once = FamilyPlan(V4, {"session affinity": "no"})
        at_once.update(state, state.services)
        assert plan.intents == at_once.intents
        assert plan.refused.keys() == at_once.refused.keys()
        assert plan.udp.serving == at_once.udp.serving
        assert plan.no_local_endpoints() == at_once.no_local_endpoints()
        assert {check.name: check for check in plan.service_health()} == {
            check.name: check for check in at_once.service_health()
        }
