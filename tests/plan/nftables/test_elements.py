"""What Services add to the table, in nft's words. Expected values: kube-proxy's outcomes, reference sections 1.9 and 3.4."""

# ruff: noqa: E501
# One line per element, as nft lists them.

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from kproxy.plan.intent import plan_port
from kproxy.plan.nftables.layout import filter_sets, nat_sets
from kproxy.plan.nftables.ruleset import NftablesRuleset, RulesetOptions
from kproxy.plan.nftables.text import render_element
from kproxy.state.addresses import Family
from kproxy.state.node import node_info
from kproxy.state.service_parser import parse_service
from tests.state.objects import NODE, node, service
from tests.state.shorthand import make_endpoints

V4, V6 = Family.IPV4, Family.IPV6


class Case(NamedTuple):
    what: str
    spec: dict[str, Any]
    endpoints: str
    expected: str
    vip: str = ""
    family: Family = V4
    node_ip: str = "192.168.0.1"


NP: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
LB: dict[str, Any] = {"type": "LoadBalancer"}
ETP: dict[str, Any] = {"externalTrafficPolicy": "Local"}
KNOWN = "cluster-ips 172.30.0.41"
TO_BOTH = """
endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.0.1 . 8080
endpoints 172.30.0.41 . tcp . 80 . 1 : 10.180.1.1 . 8080
hairpins 10.180.0.1 . 10.180.0.1
"""
REMOTE_HAIRPIN = "hairpins 10.180.1.1 . 10.180.1.1"

CASES = [
    Case("ClusterIP", {}, "a1 b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        {TO_BOTH}"""),
    Case("ClusterIP, no endpoints: reject", {}, "", f"""
        {KNOWN}
        no-endpoint-services 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto reject-chain"""),
    Case("iTP Local: only those here", {"internalTrafficPolicy": "Local"}, "a1 b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.0.1 . 8080
        hairpins 10.180.0.1 . 10.180.0.1"""),
    Case("iTP Local, none here: drop", {"internalTrafficPolicy": "Local"}, "b1", f"""
        {KNOWN}
        no-endpoint-services 172.30.0.41 . tcp . 80 comment "ns1/svc1" : drop"""),
    Case("NodePort", NP, "b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.1.1 . 8080
        service-nodeports tcp . 30080 comment "ns1/svc1" : goto nodeport-4
        nodeport-endpoints tcp . 30080 . 0 : 10.180.1.1 . 8080"""),
    Case("NodePort, eTP Local, one here", {**NP, **ETP}, "a1 b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        {TO_BOTH}
        {REMOTE_HAIRPIN}
        service-nodeports tcp . 30080 comment "ns1/svc1" : goto nodeport-local-4-4
        nodeport-endpoints tcp . 30080 . 0 : 10.180.0.1 . 8080
        nodeport-endpoints tcp . 30080 . 1 : 10.180.1.1 . 8080
        nodeport-endpoints tcp . 30080 . 65536 : 10.180.0.1 . 8080"""),
    Case("NodePort, eTP Local, none here: the short cut, and drop", {**NP, **ETP}, "b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.1.1 . 8080
        {REMOTE_HAIRPIN}
        service-nodeports tcp . 30080 comment "ns1/svc1" : goto nodeport-local-4-0
        nodeport-endpoints tcp . 30080 . 0 : 10.180.1.1 . 8080
        no-endpoint-nodeports tcp . 30080 comment "ns1/svc1" : drop"""),
    Case("NodePort, no endpoints", NP, "a1!dead", f"""
        {KNOWN}
        no-endpoint-services 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto reject-chain
        no-endpoint-nodeports tcp . 30080 comment "ns1/svc1" : goto reject-chain"""),
    Case("external IP", {"externalIPs": ["198.51.100.7"]}, "b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        service-ips 198.51.100.7 . tcp . 80 comment "ns1/svc1" : goto external-4
        endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.1.1 . 8080
        endpoints 198.51.100.7 . tcp . 80 . 0 : 10.180.1.1 . 8080"""),
    Case("LoadBalancer, ranges that overlap and leave the node out", {**LB, "loadBalancerSourceRanges": ["10.1.0.0/16", "10.1.2.0/24", "fd00::/8"]}, "b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4
        service-ips 203.0.113.5 . tcp . 80 comment "ns1/svc1" : goto external-4
        endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.1.1 . 8080
        endpoints 203.0.113.5 . tcp . 80 . 0 : 10.180.1.1 . 8080
        firewall-ips 203.0.113.5 . tcp . 80 comment "ns1/svc1"
        firewall-ranges 203.0.113.5 . tcp . 80 . 10.1.0.0/16""", vip="203.0.113.5"),
    Case("LoadBalancer, the node in a range: the VIP is, too", {**LB, "loadBalancerSourceRanges": ["192.168.0.0/24"]}, "", f"""
        {KNOWN}
        no-endpoint-services 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto reject-chain
        no-endpoint-services 203.0.113.5 . tcp . 80 comment "ns1/svc1" : goto reject-chain
        firewall-ips 203.0.113.5 . tcp . 80 comment "ns1/svc1"
        firewall-ranges 203.0.113.5 . tcp . 80 . 192.168.0.0/24
        firewall-ranges 203.0.113.5 . tcp . 80 . 203.0.113.5""", vip="203.0.113.5"),
    Case("ranges of the other family alone: no firewall", {**LB, "loadBalancerSourceRanges": ["fd00::/8"]}, "", f"""
        {KNOWN}
        no-endpoint-services 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto reject-chain
        no-endpoint-services 203.0.113.5 . tcp . 80 comment "ns1/svc1" : goto reject-chain""", vip="203.0.113.5"),
    Case("affinity", {**NP, "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}, "b1", f"""
        {KNOWN}
        service-ips 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto cluster-ip-4-sticky
        affinity-services 172.30.0.41 . tcp . 80 comment "ns1/svc1" : goto learn-60
        endpoints 172.30.0.41 . tcp . 80 . 0 : 10.180.1.1 . 8080
        service-nodeports tcp . 30080 comment "ns1/svc1" : goto nodeport-4-sticky
        affinity-nodeports tcp . 30080 comment "ns1/svc1" : goto learn-60
        nodeport-endpoints tcp . 30080 . 0 : 10.180.1.1 . 8080"""),
    Case("IPv6, UDP", {"clusterIP": "fd00:96::10", "ipFamilies": ["IPv6"], "ports": [{"port": 53, "protocol": "UDP"}]}, "", """
        cluster-ips fd00:96::10
        no-endpoint-services fd00:96::10 . udp . 53 comment "ns1/svc1" : goto reject-chain""", family=V6),
    Case("SCTP", {"ports": [{"port": 5060, "protocol": "SCTP"}]}, "", f"""
        {KNOWN}
        no-endpoint-services 172.30.0.41 . sctp . 5060 comment "ns1/svc1" : goto reject-chain"""),
]  # fmt: skip


def elements_of(case: Case) -> set[str]:
    ingress = [{"ip": case.vip}] if case.vip else None
    parsed = parse_service(service(**case.spec, ingress=ingress))
    about = node_info(NODE, node(addresses=[("InternalIP", case.node_ip)]))
    ruleset = NftablesRuleset(case.family)
    ruleset.configure(RulesetOptions(node_ip=case.node_ip))
    endpoints = make_endpoints(case.endpoints, case.family)
    ruleset.set_service("ns1/svc1", [plan_port(port, endpoints, about) for port in parsed.ports[case.family]])
    ruleset.difference()
    specs = {spec.name: spec for spec in (*filter_sets(case.family), *nat_sets(case.family))}
    held = ruleset.elements()
    return {f"{name} {render_element(specs[name], *pair)}" for name in held for pair in held[name].items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_elements(case: Case) -> None:
    assert elements_of(case) == {line.strip() for line in case.expected.splitlines() if line.strip()}
