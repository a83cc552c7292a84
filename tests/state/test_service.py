"""Parsing Services: reference sections 1.1 to 1.7, and what the API server's validation would have refused."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.service import ParsedService, ServicePort, ServicePortName
from kproxy.state.service_parser import parse_service
from tests.state.objects import HEADLESS, PROXY_NAME, service

V4, V6 = FAMILIES
WEB = {"name": "p80", "port": 80}


def port_of(parsed: ParsedService, family: Family = V4) -> ServicePort:
    (port,) = parsed.ports[family]
    return port


# 1.1 Fields read.


def test_everything_that_is_read() -> None:
    parsed = parse_service(
        service(
            "ns1/svc1",
            ips=["172.30.0.41", "fd00:10:96::41"],
            created="2026-01-01T00:00:00Z",
            ports=[{"name": "p80", "protocol": "UDP", "port": 80, "nodePort": 30080}],
            type="LoadBalancer",
            externalIPs=["192.0.2.5", "2001:db8::5"],
            ingress=[{"ip": "203.0.113.9"}, {"ip": "2001:DB8::9", "ipMode": "VIP"}],
            loadBalancerSourceRanges=["198.51.100.0/24", "2001:db8:1::/48"],
            sessionAffinity="ClientIP",
            internalTrafficPolicy="Local",
            externalTrafficPolicy="Local",
            healthCheckNodePort=31000,
        )
    )
    name = ServicePortName("ns1", "svc1", "p80", "UDP")
    four = ServicePort(
        name,
        V4,
        "172.30.0.41",
        80,
        node_port=30080,
        external_ips=("192.0.2.5",),
        load_balancer_vips=("203.0.113.9",),
        source_ranges=("198.51.100.0/24",),
        affinity_seconds=10800,
        internal_local=True,
        external_local=True,
    )
    six = ServicePort(
        name,
        V6,
        "fd00:10:96::41",
        80,
        node_port=30080,
        external_ips=("2001:db8::5",),
        load_balancer_vips=("2001:db8::9",),
        source_ranges=("2001:db8:1::/48",),
        affinity_seconds=10800,
        internal_local=True,
        external_local=True,
    )
    assert parsed == ParsedService(
        "ns1", "svc1", "2026-01-01T00:00:00Z", {V4: (four,), V6: (six,)}, health_check_node_port=31000
    )
    assert parsed.key == "ns1/svc1"


def test_fields_that_kube_proxy_does_not_read_change_nothing() -> None:
    plain = service(ports=[{"name": "p80", "port": 80}], type="LoadBalancer", ingress=[{"ip": "203.0.113.9"}])
    rich = service(
        ports=[{"name": "p80", "port": 80, "targetPort": "http", "appProtocol": "h2c"}],
        type="LoadBalancer",
        ingress=[{"ip": "203.0.113.9", "ports": [{"port": 1, "protocol": "UDP"}]}, {"hostname": "lb.example"}],
        selector={"app": "web"},
        publishNotReadyAddresses=True,
        trafficDistribution="PreferClose",
        loadBalancerClass="example.com/lb",
        allocateLoadBalancerNodePorts=False,
        loadBalancerIP="203.0.113.77",
        annotations={
            "service.kubernetes.io/topology-mode": "Auto",
            "service.beta.kubernetes.io/load-balancer-source-ranges": "198.51.100.0/24",
        },
    )
    assert parse_service(plain) == parse_service(rich)


# 1.2 What is skipped.

SKIPPED: list[tuple[str, dict[str, Any], str, str]] = [
    ("proxy name", {"labels": {PROXY_NAME: "other"}}, "", "hands it to another proxy"),
    ("empty proxy name", {"labels": {PROXY_NAME: ""}}, "", "hands it to another proxy"),
    ("headless label", {"labels": {HEADLESS: ""}}, HEADLESS, ""),
    ("headless", {"clusterIP": "None"}, "headless", ""),
    ("headless with clusterIPs", {"clusterIP": "None", "clusterIPs": ["None"]}, "headless", ""),
    ("no clusterIP", {"clusterIP": ""}, "", "no clusterIP"),
    ("clusterIP null", {"clusterIP": None}, "", "no clusterIP"),
    ("ExternalName", {"type": "ExternalName", "clusterIP": None, "externalName": "a.example"}, "ExternalName", ""),
    ("ExternalName with a clusterIP", {"type": "ExternalName"}, "ExternalName", ""),
    ("another proxy's headless one", {"labels": {PROXY_NAME: "x"}, "clusterIP": "None"}, "", "another proxy"),
]


@pytest.mark.parametrize(("fields", "dns", "over"), [row[1:] for row in SKIPPED], ids=[row[0] for row in SKIPPED])
def test_services_without_rules(fields: dict[str, Any], dns: str, over: str) -> None:
    parsed = parse_service(service(**fields))
    assert parsed.ports == {}
    assert (bool(parsed.handed_to_dns), bool(parsed.passed_over)) == (bool(dns), bool(over))
    assert dns in parsed.handed_to_dns
    assert over in parsed.passed_over


def test_a_headless_service_is_not_checked_like_others() -> None:
    """It may have no ports at all, or several without a name in manifests of old."""
    assert parse_service(service(clusterIP="None", ports=None)).handed_to_dns == "headless"


# 1.3 Identity, names and ports.


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (ServicePortName("ns1", "svc1", "p80", "TCP"), "ns1/svc1:p80"),
        (ServicePortName("ns1", "svc1", "p80", "UDP"), "ns1/svc1:p80"),
        (ServicePortName("ns1", "svc2", "", "TCP"), "ns1/svc2"),
    ],
)
def test_display_form(name: ServicePortName, shown: str) -> None:
    assert str(name) == shown


def test_several_ports_keep_their_order_and_the_protocol_defaults_to_tcp() -> None:
    ports = [
        {"name": "dns", "protocol": "UDP", "port": 53},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53},
        {"name": "metrics", "port": 9153, "nodePort": 30153},
        {"name": "signals", "protocol": "SCTP", "port": 53},
    ]
    parsed = parse_service(service("kube-system/kube-dns", type="NodePort", ports=ports))
    assert [(str(port.name), port.protocol, port.port, port.node_port) for port in parsed.ports[V4]] == [
        ("kube-system/kube-dns:dns", "UDP", 53, 0),
        ("kube-system/kube-dns:dns-tcp", "TCP", 53, 0),
        ("kube-system/kube-dns:metrics", "TCP", 9153, 30153),
        ("kube-system/kube-dns:signals", "SCTP", 53, 0),
    ]


def test_without_a_namespace_it_is_default() -> None:
    assert parse_service(service("web")).key == "default/web"


# 1.4 Dual stack.

FAMILY_CASES: list[tuple[str, dict[str, Any], dict[Family, str]]] = [
    ("IPv4 by clusterIP alone", {"clusterIP": "10.96.0.1"}, {V4: "10.96.0.1"}),
    ("IPv6 by clusterIP alone", {"clusterIP": "FD00::1"}, {V6: "fd00::1"}),
    ("no ipFamilies: clusterIPs are not looked at", {"clusterIPs": ["172.30.0.41", "fd00::1"]}, {V4: "172.30.0.41"}),
    ("both", {"ips": ["10.96.0.1", "fd00::1"]}, {V4: "10.96.0.1", V6: "fd00::1"}),
    ("both, IPv6 first", {"ips": ["fd00::1", "10.96.0.1"]}, {V4: "10.96.0.1", V6: "fd00::1"}),
    ("single stack IPv6", {"ips": ["fd00::1"]}, {V6: "fd00::1"}),
    (
        "two families, one address so far",
        {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4", "IPv6"]},
        {V4: "10.96.0.1"},
    ),
    (
        "ipFamilies without clusterIPs (hand-written)",
        {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"]},
        {V4: "10.96.0.1"},
    ),
]


@pytest.mark.parametrize(("fields", "ips"), [row[1:] for row in FAMILY_CASES], ids=[row[0] for row in FAMILY_CASES])
def test_cluster_ip_of_each_family(fields: dict[str, Any], ips: dict[Family, str]) -> None:
    parsed = parse_service(service(**fields))
    assert {family: ports[0].cluster_ip for family, ports in parsed.ports.items()} == ips
    assert all(port.family is family for family, ports in parsed.ports.items() for port in ports)


def test_addresses_that_are_none_are_named_and_left_out() -> None:
    parsed = parse_service(
        service(externalIPs=["192.0.2.5", "", "nonsense", "192.0.2.5"], ingress=[{"ip": "lb"}, {"ip": "203.0.113.9"}])
    )
    assert port_of(parsed).external_ips == ("192.0.2.5",)  # twice the same is once
    assert port_of(parsed).load_balancer_vips == ("203.0.113.9",)
    assert parsed.warnings == (
        "spec.externalIPs: 'nonsense' is not an IP address; ignored",
        "status.loadBalancer.ingress[].ip: 'lb' is not an IP address; ignored",
    )


# 1.5 LoadBalancer specifics.


@pytest.mark.parametrize(
    ("ingress", "vips"),
    [
        ([{"ip": "203.0.113.9"}], ("203.0.113.9",)),
        ([{"ip": "203.0.113.9", "ipMode": "VIP"}], ("203.0.113.9",)),
        ([{"ip": "203.0.113.9", "ipMode": "Proxy"}], ()),
        ([{"hostname": "lb.example"}], ()),
        ([{"ip": "", "hostname": "lb.example"}], ()),
        ([{"ip": "203.0.113.9", "ipMode": "Proxy"}, {"ip": "203.0.113.10"}], ("203.0.113.10",)),
        ([], ()),
        (None, ()),
    ],
)
def test_load_balancer_vips(ingress: list[dict[str, str]] | None, vips: tuple[str, ...]) -> None:
    assert port_of(parse_service(service(type="LoadBalancer", ingress=ingress))).load_balancer_vips == vips


def test_the_type_is_not_looked_at_for_vips_and_node_ports() -> None:
    parsed = parse_service(service(ingress=[{"ip": "203.0.113.9"}], ports=[{"port": 80, "nodePort": 30080}]))
    assert port_of(parsed).load_balancer_vips == ("203.0.113.9",)
    assert port_of(parsed).node_port == 30080


@pytest.mark.parametrize(
    ("ranges", "four", "six"),
    [
        ([" 198.51.100.0/24 ", "198.51.100.0/24"], ("198.51.100.0/24",), ()),
        (["198.51.100.77/24"], ("198.51.100.0/24",), ()),
        (["2001:db8::/32"], (), ("2001:db8::/32",)),  # none is left for IPv4: no firewall there
        (None, (), ()),
    ],
)
def test_source_ranges_by_family(ranges: list[str] | None, four: tuple[str, ...], six: tuple[str, ...]) -> None:
    parsed = parse_service(service(ips=["10.96.0.1", "fd00::1"], type="LoadBalancer", loadBalancerSourceRanges=ranges))
    assert (port_of(parsed, V4).source_ranges, port_of(parsed, V6).source_ranges) == (four, six)


# 1.6 Policy predicates.

PREDICATES: list[tuple[str, dict[str, Any], tuple[bool, bool, bool, bool, bool]]] = [
    # (external_local, internal_local, externally accessible, uses cluster endpoints, uses local endpoints)
    ("ClusterIP", {}, (False, False, False, True, False)),
    ("iTP Cluster said aloud", {"internalTrafficPolicy": "Cluster"}, (False, False, False, True, False)),
    ("iTP Local", {"internalTrafficPolicy": "Local"}, (False, True, False, False, True)),
    (
        "iTP Local with a node port keeps the cluster list",
        {"internalTrafficPolicy": "Local", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        (False, True, True, True, True),
    ),
    ("ClusterIP with eTP Local is not Local", {"externalTrafficPolicy": "Local"}, (False, False, False, True, False)),
    (
        "externalIPs and eTP Local",
        {"externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.5"]},
        (True, False, True, True, True),
    ),
    (
        "NodePort and eTP Local",
        {"externalTrafficPolicy": "Local", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
        (True, False, True, True, True),
    ),
    (
        "NodePort without a number yet: the port is not accessible",
        {"externalTrafficPolicy": "Local", "type": "NodePort"},
        (True, False, False, True, False),
    ),
    (
        "LoadBalancer without an address or node port",
        {"externalTrafficPolicy": "Local", "type": "LoadBalancer", "healthCheckNodePort": 31000},
        (True, False, False, True, False),
    ),
    (
        "externalIPs of the other family only",
        {"externalTrafficPolicy": "Local", "externalIPs": ["2001:db8::5"]},
        (True, False, False, True, False),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), [row[1:] for row in PREDICATES], ids=[row[0] for row in PREDICATES])
def test_predicates(fields: dict[str, Any], expected: tuple[bool, ...]) -> None:
    port = port_of(parse_service(service(**fields)))
    assert (
        port.external_local,
        port.internal_local,
        port.externally_accessible,
        port.uses_cluster_endpoints,
        port.uses_local_endpoints,
    ) == expected


LOCAL_LB = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}


@pytest.mark.parametrize(
    ("fields", "check_port", "warned"),
    [
        ({**LOCAL_LB, "healthCheckNodePort": 31000}, 31000, False),
        (LOCAL_LB, 0, True),
        ({"type": "LoadBalancer", "healthCheckNodePort": 31000}, 0, False),
        ({"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}, 0, False),
    ],
)
def test_health_check_node_port(fields: dict[str, Any], check_port: int, warned: bool) -> None:
    parsed = parse_service(service(**fields))
    assert parsed.health_check_node_port == check_port
    assert any("spec.healthCheckNodePort" in text for text in parsed.warnings) is warned


def test_external_ips_switched_off_by_the_feature_gate() -> None:
    spec: dict[str, Any] = {"externalIPs": ["192.0.2.5"], "externalTrafficPolicy": "Local"}
    port = port_of(parse_service(service(**spec), external_ips_allowed=False))
    assert (port.external_ips, port.external_local, port.externally_accessible) == ((), False, False)


# 1.7 Session affinity.


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"sessionAffinity": "None"}, None),
        ({"sessionAffinity": ""}, None),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, 1),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}}, 86400),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, None),
    ],
)
def test_affinity(fields: dict[str, Any], seconds: int | None) -> None:
    assert port_of(parse_service(service(**fields))).affinity_seconds == seconds
