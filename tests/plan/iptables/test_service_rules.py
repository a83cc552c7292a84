"""The rules of one service port, by shape, against text that was written by hand from the reference."""

from __future__ import annotations

from textwrap import dedent

import pytest

from kproxy.plan.intent import plan_port
from kproxy.plan.iptables.service import PortRules, RenderOptions, port_rules
from kproxy.plan.local_traffic import LocalTraffic
from kproxy.state.addresses import Family
from kproxy.state.node import NodeInfo
from kproxy.state.service_parser import parse_service
from tests.plan.iptables.shapes import ETP, ITP, NP, SHAPES, Shape
from tests.state.objects import NODE, service
from tests.state.shorthand import make_endpoints

HASH = "XPGD46QRK7WJZT7O"  # of ns1/svc1:p80 and tcp, from section 2.3


def lines_of(rules: PortRules) -> list[str]:
    lines = [f"KUBE-SERVICES[{ip}]: {rule}" for ip, rule in rules.addresses]
    lines += [f"KUBE-NODEPORTS[{port}]: {rule}" for port, rule in rules.node_ports]
    lines += [f"{chain}: {rule}" for chain, held in rules.chains.items() for rule in held]
    lines += [f"filter KUBE-SERVICES: {rule}" for rule in rules.filter_services]
    lines += [f"filter KUBE-EXTERNAL-SERVICES: {rule}" for rule in rules.filter_external]
    lines += [f"filter KUBE-PROXY-FIREWALL: {rule}" for rule in rules.filter_firewall]
    return lines


def rules_for(shape: Shape) -> PortRules:
    port = {"name": "p80", "port": 80, "protocol": shape.protocol, "nodePort": shape.node_port}
    ingress = [{"ip": ip} for ip in shape.vips]
    made = service("ns1/svc1", **{"ports": [port], **shape.spec}, ingress=ingress)
    (parsed,) = parse_service(made).ports[shape.family]
    intent = plan_port(parsed, make_endpoints(shape.endpoints, shape.family), NodeInfo(NODE))
    return port_rules(intent, shape.options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape(shape: Shape) -> None:
    # The names of affinity lists, computed with sha256sum and base32 from "ns1/svc1:p80tcp10.180.0.1:8080".
    lists = {"A1": "KUBE-SEP-CPWPCALSNDDLLDLJ", "B1": "KUBE-SEP-WSZU2WHNA7645Q2J"}
    text = dedent(shape.expected).strip().replace("@", HASH)
    for short, name in lists.items():
        text = text.replace(f"--name {short} ", f"--name {name} ")
    assert lines_of(rules_for(shape)) == [line.strip() for line in text.splitlines()]


def test_ipv6() -> None:
    shape = Shape(
        "", "", "a1", {"ips": ["fd00:172:30::41"]}, RenderOptions(LocalTraffic("fd00:180::/32")), family=Family.IPV6
    )
    assert lines_of(rules_for(shape)) == [
        'KUBE-SERVICES[fd00:172:30::41]: -m comment --comment "ns1/svc1:p80 cluster IP" '
        f"-m tcp -p tcp -d fd00:172:30::41 --dport 80 -j KUBE-SVC-{HASH}",
        f'KUBE-SVC-{HASH}: -m comment --comment "ns1/svc1:p80 cluster IP" '
        "-m tcp -p tcp -d fd00:172:30::41 --dport 80 ! -s fd00:180::/32 -j KUBE-MARK-MASQ",
        f'KUBE-SVC-{HASH}: -m comment --comment "ns1/svc1:p80" -p tcp -j DNAT --to-destination [fd00:180:a::1]:8080',
    ]


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_other_protocols(protocol: str) -> None:
    """The join by protocol leaves a TCP slice's endpoints out, so this port has none."""
    shape = Shape("", "", "", protocol=protocol, options=RenderOptions())
    low = protocol.lower()
    assert lines_of(rules_for(shape)) == [
        'filter KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" '
        f"-m {low} -p {low} -d 172.30.0.41 --dport 80 -j REJECT",
    ]


def test_every_endpoint_in_use_may_meet_itself() -> None:
    """Also remote ones: the packet may come back through this node (kube-proxy's KUBE-SEP rules do the same)."""
    assert rules_for(Shape("", "", "a1 a2!dead b1")).hairpins == ("10.180.0.1", "10.180.1.1")
    assert rules_for(Shape("", "", "a1 b1", ITP)).hairpins == ("10.180.0.1",)
    assert rules_for(Shape("", "", "a1!term b1", NP | ETP, node_port=30080)).hairpins == ("10.180.0.1", "10.180.1.1")
    assert rules_for(Shape("", "", "")).hairpins == ()
