"""Which virtual servers a service port makes, and where they send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from kproxy.plan.ipvs.frontends import frontends, taken_addresses
from kproxy.plan.ipvs.server import Flag, Scheduling
from tests.plan.ipvs.rig import NODE_IP, SETTINGS, intents
from tests.state.shorthand import pod_ip

CLUSTER_IP = "172.30.0.41"
NODE_PORT: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
BALANCED: dict[str, Any] = {"type": "LoadBalancer", "ingress": [{"ip": "203.0.113.41"}]}
ITP: dict[str, Any] = {"internalTrafficPolicy": "Local"}
ETP: dict[str, Any] = {"externalTrafficPolicy": "Local"}
OF_THE_NODE = f"TCP {NODE_IP}:30080", "TCP 192.168.7.1:30080"


@dataclass(frozen=True)
class Row:
    """`expected`: a virtual server, then the names of its endpoints."""

    what: str
    expected: dict[str, str]
    endpoints: str = "a1 b1"
    spec: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.what


C = f"TCP {CLUSTER_IP}:80"
X, L = "TCP 192.0.2.41:80", "TCP 203.0.113.41:80"
ROWS = [
    Row("1: a clusterIP", {C: "a1 b1"}),
    Row("10: no endpoints, refused by the packet filter", {C: ""}, ""),
    Row("13: terminating ones", {C: "a1 b1"}, "a1!term b1!term"),
    Row("15: iTP Local", {C: "a1"}, spec=ITP),
    Row("17: iTP Local, none here: dropped", {C: ""}, "b1", ITP),
    Row("42: an external IP", {C: "a1 b1", X: "a1 b1"}, spec={"externalIPs": ["192.0.2.41"]}),
    Row("44: eTP Local", {C: "a1 b1", X: "a1"}, spec={"externalIPs": ["192.0.2.41"], **ETP}),
    Row("47: eTP Local, none here: dropped", {C: "b1", X: ""}, "b1", {"externalIPs": ["192.0.2.41"], **ETP}),
    Row("52: a load balancer", {C: "a1 b1", L: "a1 b1"}, spec=BALANCED),
    Row(
        "58: ipMode Proxy",
        {C: "a1 b1"},
        spec={**BALANCED, "ingress": [{"ip": "1.2.3.4", "ipMode": "Proxy"}]},
    ),
    Row(
        "67: a node port, on every address of the node",
        {C: "a1 b1", **dict.fromkeys(OF_THE_NODE, "a1 b1")},
        spec=NODE_PORT,
    ),
    Row("69: a node port, eTP Local", {C: "a1 b1", **dict.fromkeys(OF_THE_NODE, "a1")}, spec={**NODE_PORT, **ETP}),
    Row("93175: an external IP that is the node's", {C: "a1 b1"}, spec={"externalIPs": [NODE_IP]}),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_virtual_servers(row: Row) -> None:
    (intent,) = intents(row.endpoints, **row.spec)
    found = {str(one.server): {dest.ip for dest in one.destinations} for one in frontends(intent, SETTINGS)}
    assert found == {server: {pod_ip(name) for name in names.split()} for server, names in row.expected.items()}


def test_which_address_is_not_served_and_why() -> None:
    (intent,) = intents(externalIPs=[NODE_IP, "192.0.2.41"], type="LoadBalancer", ingress=[{"ip": NODE_IP}])
    assert list(taken_addresses(intent, SETTINGS.node_ips)) == [
        (NODE_IP, "spec.externalIPs"),
        (NODE_IP, "status.loadBalancer.ingress[].ip"),
    ]


MH = {"kproxy.dev/ipvs-scheduler": "mh"}
AFFINITY = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Scheduling("rr", 0, 0, 32)),
        ({"annotations": MH}, Scheduling("mh", Flag.SOURCE_PORT, 0, 32)),
        ({"annotations": {"kproxy.dev/ipvs-scheduler": "nosuch"}}, Scheduling("rr", 0, 0, 32)),
        (AFFINITY, Scheduling("rr", Flag.PERSISTENT, 60, 32)),
        ({"annotations": MH, **AFFINITY}, Scheduling("mh", Flag.PERSISTENT | Flag.SOURCE_PORT, 60, 32)),
    ],
)
def test_how_it_chooses(spec: dict[str, Any], expected: Scheduling) -> None:
    (intent,) = intents(**spec)
    assert [one.scheduling for one in frontends(intent, SETTINGS)] == [expected]
