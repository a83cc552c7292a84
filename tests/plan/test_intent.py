"""The plan of a service port: derived verdicts (reference section 1.9) with their reasons, and its frontends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.plan.intent import Frontend, FrontendKind, PortIntent, Reason, Verdict, plan_port
from kproxy.state.addresses import Family
from kproxy.state.node import NodeInfo
from kproxy.state.service_parser import parse_service
from tests.state.objects import NODE, service
from tests.state.shorthand import make_endpoints, names

if TYPE_CHECKING:
    from kproxy.state.service import ServicePort

FORWARD, REJECT, DROP = Verdict.FORWARD, Verdict.REJECT, Verdict.DROP
NOBODY, NOBODY_HERE = Reason.NO_ENDPOINTS, Reason.NO_LOCAL_ENDPOINTS

CLUSTER: dict[str, Any] = {}
NODE_PORT: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
ITP: dict[str, Any] = {"internalTrafficPolicy": "Local"}
ETP: dict[str, Any] = {"externalTrafficPolicy": "Local"}


def make_port(spec: dict[str, Any]) -> ServicePort:
    (port,) = parse_service(service(**spec)).ports[Family.IPV4]
    return port


def plan(spec: dict[str, Any], endpoints: str, zone: str = "z1") -> PortIntent:
    return plan_port(make_port(spec), make_endpoints(endpoints), NodeInfo(NODE, zone=zone))


@dataclass(frozen=True)
class Row:
    what: str
    spec: dict[str, Any]
    endpoints: str
    internal: Verdict
    external: Verdict
    to_cluster_ip: str = ""
    from_outside: str = ""
    short_circuit: bool = False
    forwards_external: bool = False

    def __str__(self) -> str:
        return self.what


ROWS = [
    Row("10-11: no endpoints", CLUSTER, "", REJECT, REJECT),
    Row("12: none that serves", CLUSTER, "a1!dead", REJECT, REJECT),
    Row("1: some", CLUSTER, "a1 b1", FORWARD, FORWARD, "a1 b1", "a1 b1"),
    Row("13: terminating ones", CLUSTER, "b1!term", FORWARD, FORWARD, "b1", "b1"),
    Row("15: iTP Local, some here", ITP, "a1 b1", FORWARD, FORWARD, "a1"),
    Row("17: iTP Local, none here", ITP, "b1", DROP, FORWARD),
    Row("19: iTP Local, a dead one here", ITP, "a1!dead b1", DROP, FORWARD),
    Row("20: iTP Local, none anywhere", ITP, "a1!dead", REJECT, REJECT),
    Row("67: node port", NODE_PORT, "b1", FORWARD, FORWARD, "b1", "b1", forwards_external=True),
    Row("74: node port, none", NODE_PORT, "", REJECT, REJECT),
    Row(
        "69: eTP Local, some here",
        NODE_PORT | ETP,
        "a1 b1",
        FORWARD,
        FORWARD,
        "a1 b1",
        "a1",
        short_circuit=True,
        forwards_external=True,
    ),
    Row(
        "70-72: eTP Local, none here",
        NODE_PORT | ETP,
        "b1",
        FORWARD,
        DROP,
        "b1",
        "",
        short_circuit=True,
        forwards_external=True,
    ),
    Row("eTP Local, none anywhere", NODE_PORT | ETP, "b1!left", REJECT, REJECT),
    Row(
        "iTP Local, eTP Cluster, none here",
        NODE_PORT | ITP,
        "b1",
        DROP,
        FORWARD,
        "",
        "b1",
        forwards_external=True,
    ),
    Row(
        "both Local, none here",
        NODE_PORT | ITP | ETP,
        "b1",
        DROP,
        DROP,
        "",
        "",
        short_circuit=True,
        forwards_external=True,
    ),
    Row("eTP Local on a ClusterIP says nothing", ETP, "b1", FORWARD, FORWARD, "b1", "b1"),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_verdicts(row: Row) -> None:
    intent = plan(row.spec, row.endpoints)
    assert (intent.internal, intent.external) == (row.internal, row.external)
    because = {FORWARD: None, REJECT: NOBODY, DROP: NOBODY_HERE}
    assert (intent.internal_reason, intent.external_reason) == (because[row.internal], because[row.external])
    assert (names(intent.internal_endpoints), names(intent.external_endpoints)) == (row.to_cluster_ip, row.from_outside)
    assert (intent.short_circuit, intent.forwards_external) == (row.short_circuit, row.forwards_external)


def test_reasons_are_kube_proxy_s_words() -> None:
    assert (str(NOBODY), str(NOBODY_HERE)) == ("has no endpoints", "has no local endpoints")


def test_the_zone_of_the_node_is_used() -> None:
    assert names(plan(CLUSTER, "a1@z1 b1@z2", "z2").internal_endpoints) == "b1"


def test_every_endpoint_is_in_use_or_has_a_reason() -> None:
    intent = plan(CLUSTER, "a1 a2!dead b1!term")
    assert names(intent.endpoints) == "a1 a2 b1"
    assert {names([endpoint]): str(why) for endpoint, why in intent.passed_over().values()} == {
        "a2": "it is not ready",
        "b1": "it is terminating, and ready endpoints exist",
    }


def test_external_frontends_in_kube_proxy_s_order() -> None:
    spec = NODE_PORT | {"type": "LoadBalancer", "externalIPs": ["192.0.2.5", "192.0.2.6"]}
    parsed = parse_service(service(ingress=[{"ip": "203.0.113.9"}], **spec))
    intent = plan_port(parsed.ports[Family.IPV4][0], (), NodeInfo(NODE))
    assert list(intent.external_frontends()) == [
        Frontend(FrontendKind.EXTERNAL_IP, "192.0.2.5", 80),
        Frontend(FrontendKind.EXTERNAL_IP, "192.0.2.6", 80),
        Frontend(FrontendKind.LOAD_BALANCER, "203.0.113.9", 80),
        Frontend(FrontendKind.NODE_PORT, "", 30080),
    ]
    assert list(plan(CLUSTER, "").external_frontends()) == []


@pytest.mark.parametrize(
    ("ranges", "firewalled"), [(["10.0.0.0/8"], True), (["2001:db8::/32"], False), ([], False), (None, False)]
)
def test_source_ranges_of_the_family_make_a_firewall(ranges: list[str] | None, firewalled: bool) -> None:
    spec: dict[str, Any] = {"type": "LoadBalancer", "loadBalancerSourceRanges": ranges}
    assert plan(spec, "a1").firewalled is firewalled


def test_equal_input_gives_equal_output() -> None:
    assert plan(NODE_PORT, "a1 b1!term") == plan(NODE_PORT, "a1 b1!term")
