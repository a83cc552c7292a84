"""A Service that an API server would have refused is refused here too: one line that names object and field."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.errors import ObjectError
from kproxy.state.service_parser import parse_service
from tests.state.objects import service

TWO = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]

INVALID: list[tuple[str, str, dict[str, Any]]] = [
    # (what is wrong, the field that must be named, spec)
    ("unknown protocol", "spec.ports[0].protocol", {"ports": [{"port": 80, "protocol": "ICMP"}]}),
    ("protocol in lower case", "spec.ports[0].protocol", {"ports": [{"port": 80, "protocol": "tcp"}]}),
    ("port 0", "spec.ports[0].port", {"ports": [{"port": 0}]}),
    ("port too high", "spec.ports[1].port", {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 65536}]}),
    ("negative port", "spec.ports[0].port", {"ports": [{"port": -1}]}),
    ("node port too high", "spec.ports[0].nodePort", {"ports": [{"port": 80, "nodePort": 65536}]}),
    ("negative node port", "spec.ports[0].nodePort", {"ports": [{"port": 80, "nodePort": -30080}]}),
    ("several ports, one unnamed", "spec.ports[1].name", {"ports": [{"name": "a", "port": 80}, {"port": 81}]}),
    ("port name with a capital", "spec.ports[0].name", {"ports": [{"name": "Web", "port": 80}]}),
    ("port name with a space", "spec.ports[0].name", {"ports": [{"name": "a b", "port": 80}]}),
    ("port name with a quote", "spec.ports[0].name", {"ports": [{"name": 'a" -j ACCEPT', "port": 80}]}),
    ("port name with a newline", "spec.ports[0].name", {"ports": [{"name": "a\nCOMMIT", "port": 80}]}),
    ("port name that ends in a newline", "spec.ports[0].name", {"ports": [{"name": "a\n", "port": 80}]}),
    ("port name that begins with a dash", "spec.ports[0].name", {"ports": [{"name": "-a", "port": 80}]}),
    ("port name of 64 characters", "spec.ports[0].name", {"ports": [{"name": "a" * 64, "port": 80}]}),
    ("port name with a dot", "spec.ports[0].name", {"ports": [{"name": "a.b", "port": 80}]}),
    ("the same name twice", "spec.ports[1]", {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}),
    (
        "the same name twice, other protocol",
        "spec.ports[1]",
        {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 80, "protocol": "UDP"}]},
    ),
    (
        "the same port twice",
        "spec.ports[1]",
        {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "TCP"}]},
    ),
    (
        "the same node port twice",
        "spec.ports[1]",
        {"ports": [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30080}]},
    ),
    ("no ports", "spec.ports", {"ports": []}),
    ("ports left out", "spec.ports", {"ports": None}),
    ("clusterIP that is none", "spec.clusterIP", {"clusterIP": "10.96.0.1 -j ACCEPT"}),
    ("clusterIP with a netmask", "spec.clusterIP", {"clusterIP": "10.96.0.1/32"}),
    (
        "clusterIP of another family than ipFamilies says",
        "spec.clusterIPs",
        {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv6"]},
    ),
    ("unknown family", "spec.clusterIP", {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv5"]}),
    ("affinity unknown", "spec.sessionAffinity", {"sessionAffinity": "Cookie"}),
    (
        "affinity of 0 s",
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
    ),
    (
        "affinity of more than a day",
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
    ),
    (
        "source range that is none: leaving it out could open the Service to all",
        "spec.loadBalancerSourceRanges[1]",
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "office"]},
    ),
    (
        "source range without a length",
        "spec.loadBalancerSourceRanges[0]",
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1"]},
    ),
    (
        "health check node port too high",
        "spec.healthCheckNodePort",
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 65536},
    ),
    (
        "health check node port negative",
        "spec.healthCheckNodePort",
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": -1},
    ),
    ("unknown type", "spec.type", {"type": "Nodeport"}),
    ("unknown internal policy", "spec.internalTrafficPolicy", {"internalTrafficPolicy": "local"}),
    (
        "unknown external policy",
        "spec.externalTrafficPolicy",
        {"type": "NodePort", "externalTrafficPolicy": "local"},
    ),
]


@pytest.mark.parametrize(("field", "spec"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID])
def test_the_field_at_fault_is_named(field: str, spec: dict[str, Any]) -> None:
    with pytest.raises(ObjectError) as caught:
        parse_service(service("ns1/svc1", **spec))
    assert caught.value.where == "Service ns1/svc1"
    assert caught.value.field == field
    text = str(caught.value)
    assert text.startswith(f"Service ns1/svc1: {field}: ")
    assert text.isprintable()


HOSTILE = [
    'web" -j ACCEPT -m comment --comment "',
    "web\n-A INPUT -j ACCEPT",
    "web\nCOMMIT",
    "web ",
    "WEB",
    "",
    ".",
    "..",
    "-web",
    "web-",
    "a" * 64,
    "wéb",
    "web;reboot",
    "$(reboot)",
    "web`",
    "web\x00",
    "web\\",
    "web.v2",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_could_break_out_of_a_rule_are_refused(name: str) -> None:
    with pytest.raises(ObjectError) as caught:
        parse_service(service(f"ns1/{name}"))
    assert caught.value.field == "metadata.name"


@pytest.mark.parametrize("namespace", [name for name in HOSTILE if name])
def test_namespaces_that_could_break_out_of_a_rule_are_refused(namespace: str) -> None:
    with pytest.raises(ObjectError):
        parse_service(service(f"{namespace}/svc1"))


def test_a_wrong_namespace_is_not_called_a_wrong_name() -> None:
    with pytest.raises(ObjectError) as caught:
        parse_service(service("Ns1/svc1"))
    assert caught.value.field == "metadata.namespace"


@pytest.mark.parametrize("name", [name for name in HOSTILE if not name.isprintable()])
def test_what_the_user_reads_is_one_line_whatever_the_name(name: str) -> None:
    with pytest.raises(ObjectError) as caught:
        parse_service(service(f"ns1/{name}"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["w", "0", "a" * 63, "web-v2", "0web"])
def test_names_that_are_dns_labels_are_taken(name: str) -> None:
    assert parse_service(service(f"ns1/{name}")).name == name


def test_the_same_port_in_two_protocols_is_no_conflict() -> None:
    ports = [
        {"name": "a", "port": 53, "nodePort": 30053},
        {"name": "b", "port": 53, "nodePort": 30053, "protocol": "UDP"},
    ]
    parsed = parse_service(service(type="NodePort", ports=ports))
    assert [port.protocol for ports in parsed.ports.values() for port in ports] == ["TCP", "UDP"]
