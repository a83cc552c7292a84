"""The shapes of reference section 2.6, and their rules as section 2.5 has them.

What differs from kube-proxy on purpose: the balancing rules translate the address themselves (no KUBE-SEP chains,
and with them no hairpin rules here); affinity is one `--update` rule; TCP is refused by a reset.
"""

# A rule is one line, as in the tool's own output.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kproxy.plan.iptables.service import RenderOptions
from kproxy.plan.local_traffic import LocalTraffic
from kproxy.state.addresses import Family

V4, V6 = Family.IPV4, Family.IPV6
PODS = LocalTraffic(cidr="10.180.0.0/16")


USUAL = RenderOptions(local=PODS, node_ip="192.168.0.1")


@dataclass(frozen=True)
class Shape:
    """`expected`: a line a rule, "CHAIN: RULE"; `[IP]` or `[PORT]` after KUBE-SERVICES or KUBE-NODEPORTS is the key in
    the dispatch tree, `filter` in front is the table, `@` stands for the port's hash.
    """

    what: str
    expected: str
    endpoints: str = "a1 b1"
    spec: dict[str, Any] = field(default_factory=dict)
    options: RenderOptions = USUAL
    node_port: int = 0
    vips: tuple[str, ...] = ()
    protocol: str = "TCP"
    family: Family = V4

    def __str__(self) -> str:
        return self.what


NP: dict[str, Any] = {"type": "NodePort"}
LB: dict[str, Any] = {"type": "LoadBalancer"}
ETP: dict[str, Any] = {"externalTrafficPolicy": "Local"}
ITP: dict[str, Any] = {"internalTrafficPolicy": "Local"}

TO_CLUSTER_IP = (
    'KUBE-SERVICES[172.30.0.41]: -m comment --comment "ns1/svc1:p80 cluster IP" '
    "-m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-@"
)
MASQUERADE = (
    'KUBE-SVC-@: -m comment --comment "ns1/svc1:p80 cluster IP" '
    "-m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.180.0.0/16 -j KUBE-MARK-MASQ"
)
BALANCE = """
KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m statistic --mode random --probability 0.5000000000 -p tcp \
-j DNAT --to-destination 10.180.0.1:8080
KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -p tcp -j DNAT --to-destination 10.180.1.1:8080
""".strip()
ONE_ON_B = 'KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -p tcp -j DNAT --to-destination 10.180.1.1:8080'
LOCAL_A = 'KUBE-SVL-@: -m comment --comment "ns1/svc1:p80" -p tcp -j DNAT --to-destination 10.180.0.1:8080'
TO_NODE_PORT = 'KUBE-NODEPORTS[30080]: -m comment --comment "ns1/svc1:p80" -m tcp -p tcp --dport 30080 -j KUBE-EXT-@'
MASQUERADE_ALL_SOURCES = (
    'KUBE-EXT-@: -m comment --comment "masquerade traffic for ns1/svc1:p80 external destinations" -j KUBE-MARK-MASQ'
)
SHORT_CIRCUIT_PODS = (
    'KUBE-EXT-@: -m comment --comment "pod traffic for ns1/svc1:p80 external destinations" '
    "-s 10.180.0.0/16 -j KUBE-SVC-@"
)
SHORT_CIRCUIT_NODE = """
KUBE-EXT-@: -m comment --comment "masquerade LOCAL traffic for ns1/svc1:p80 external destinations" \
-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
KUBE-EXT-@: -m comment --comment "route LOCAL traffic for ns1/svc1:p80 external destinations" \
-m addrtype --src-type LOCAL -j KUBE-SVC-@
""".strip()

SHAPES = [
    Shape("ClusterIP, endpoints", "\n".join([TO_CLUSTER_IP, MASQUERADE, BALANCE])),
    Shape(
        "three endpoints: a third, a half, the rest",
        f"""
        {TO_CLUSTER_IP}
        {MASQUERADE}
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m statistic --mode random --probability 0.3333333333 -p tcp -j DNAT --to-destination 10.180.0.1:8080
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m statistic --mode random --probability 0.5000000000 -p tcp -j DNAT --to-destination 10.180.0.2:8080
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -p tcp -j DNAT --to-destination 10.180.1.1:8080
        """,
        "a1 a2 b1",
    ),
    Shape(
        "ClusterIP, none",
        'filter KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" '
        "-m tcp -p tcp -d 172.30.0.41 --dport 80 -j REJECT --reject-with tcp-reset",
        "",
    ),
    Shape(
        "ClusterIP iTP Local, local ones",
        f"""
        {TO_CLUSTER_IP.replace("SVC-@", "SVL-@")}
        {MASQUERADE.replace("SVC-@", "SVL-@")}
        {LOCAL_A}
        """,
        spec=ITP,
    ),
    Shape(
        "ClusterIP iTP Local, remote only",
        'filter KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 has no local endpoints" '
        "-m tcp -p tcp -d 172.30.0.41 --dport 80 -j DROP",
        "b1",
        spec=ITP,
    ),
    Shape(
        "NodePort eTP Cluster",
        f"""
        {TO_CLUSTER_IP}
        {TO_NODE_PORT}
        {MASQUERADE}
        {BALANCE}
        {MASQUERADE_ALL_SOURCES}
        KUBE-EXT-@: -j KUBE-SVC-@
        """,
        spec=NP,
        node_port=30080,
    ),
    Shape(
        "NodePort eTP Local, local ones",
        f"""
        {TO_CLUSTER_IP}
        {TO_NODE_PORT}
        {MASQUERADE}
        {BALANCE}
        {LOCAL_A}
        {SHORT_CIRCUIT_PODS}
        {SHORT_CIRCUIT_NODE}
        KUBE-EXT-@: -j KUBE-SVL-@
        """,
        spec=NP | ETP,
        node_port=30080,
    ),
    Shape(
        "NodePort eTP Local, remote only: both a forward and a drop",
        f"""
        {TO_CLUSTER_IP}
        {TO_NODE_PORT}
        {MASQUERADE}
        {ONE_ON_B}
        {SHORT_CIRCUIT_PODS}
        {SHORT_CIRCUIT_NODE}
        filter KUBE-EXTERNAL-SERVICES: -m comment --comment "ns1/svc1:p80 has no local endpoints" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j DROP
        """,
        "b1",
        spec=NP | ETP,
        node_port=30080,
    ),
    Shape(
        "NodePort eTP Local without a detector: no rule for pods",
        f"""
        {TO_CLUSTER_IP}
        {TO_NODE_PORT}
        {ONE_ON_B}
        {SHORT_CIRCUIT_NODE}
        filter KUBE-EXTERNAL-SERVICES: -m comment --comment "ns1/svc1:p80 has no local endpoints" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j DROP
        """,
        "b1",
        spec=NP | ETP,
        node_port=30080,
        options=RenderOptions(),
    ),
    Shape(
        "iTP Local, eTP Cluster: the masquerading of the clusterIP stands in the local chain alone",
        f"""
        {TO_CLUSTER_IP.replace("SVC-@", "SVL-@")}
        {TO_NODE_PORT}
        {BALANCE}
        {MASQUERADE.replace("SVC-@", "SVL-@")}
        {LOCAL_A}
        {MASQUERADE_ALL_SOURCES}
        KUBE-EXT-@: -j KUBE-SVC-@
        """,
        spec=NP | ITP,
        node_port=30080,
    ),
    Shape(
        "any external, none: refused everywhere",
        """
        filter KUBE-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j REJECT --reject-with tcp-reset
        filter KUBE-EXTERNAL-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" -m tcp -p tcp -d 192.0.2.5 --dport 80 -j REJECT --reject-with tcp-reset
        filter KUBE-EXTERNAL-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" -m tcp -p tcp -d 203.0.113.9 --dport 80 -j REJECT --reject-with tcp-reset
        filter KUBE-EXTERNAL-SERVICES: -m comment --comment "ns1/svc1:p80 has no endpoints" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT --reject-with tcp-reset
        """,
        "",
        spec=LB | ETP | {"externalIPs": ["192.0.2.5"], "loadBalancerSourceRanges": ["198.51.100.0/24"]},
        node_port=30080,
        vips=("203.0.113.9",),
    ),
    Shape(
        "externalIP and LoadBalancer VIP",
        f"""
        {TO_CLUSTER_IP}
        KUBE-SERVICES[192.0.2.5]: -m comment --comment "ns1/svc1:p80 external IP" -m tcp -p tcp -d 192.0.2.5 --dport 80 -j KUBE-EXT-@
        KUBE-SERVICES[203.0.113.9]: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -m tcp -p tcp -d 203.0.113.9 --dport 80 -j KUBE-EXT-@
        {MASQUERADE}
        {BALANCE}
        {MASQUERADE_ALL_SOURCES}
        KUBE-EXT-@: -j KUBE-SVC-@
        """,
        spec=LB | {"externalIPs": ["192.0.2.5"]},
        vips=("203.0.113.9",),
    ),
    Shape(
        "LoadBalancer with source ranges",
        f"""
        {TO_CLUSTER_IP}
        KUBE-SERVICES[203.0.113.9]: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -m tcp -p tcp -d 203.0.113.9 --dport 80 -j KUBE-FW-@
        {MASQUERADE}
        {BALANCE}
        {MASQUERADE_ALL_SOURCES}
        KUBE-EXT-@: -j KUBE-SVC-@
        KUBE-FW-@: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -s 198.51.100.0/24 -j KUBE-EXT-@
        KUBE-FW-@: -m comment --comment "other traffic to ns1/svc1:p80 will be dropped by KUBE-PROXY-FIREWALL"
        filter KUBE-PROXY-FIREWALL: -m comment --comment "ns1/svc1:p80 traffic not accepted by KUBE-FW-@" -m tcp -p tcp -d 203.0.113.9 --dport 80 -j DROP
        """,
        spec=LB | {"loadBalancerSourceRanges": ["198.51.100.0/24"]},
        vips=("203.0.113.9",),
    ),
    Shape(
        "source ranges that hold the node let the VIPs in too",
        f"""
        {TO_CLUSTER_IP}
        KUBE-SERVICES[203.0.113.9]: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -m tcp -p tcp -d 203.0.113.9 --dport 80 -j KUBE-FW-@
        KUBE-SERVICES[203.0.113.8]: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -m tcp -p tcp -d 203.0.113.8 --dport 80 -j KUBE-FW-@
        {MASQUERADE}
        {BALANCE}
        {MASQUERADE_ALL_SOURCES}
        KUBE-EXT-@: -j KUBE-SVC-@
        KUBE-FW-@: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -s 198.51.100.0/24 -j KUBE-EXT-@
        KUBE-FW-@: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -s 192.168.0.0/16 -j KUBE-EXT-@
        KUBE-FW-@: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -s 203.0.113.9 -j KUBE-EXT-@
        KUBE-FW-@: -m comment --comment "ns1/svc1:p80 loadbalancer IP" -s 203.0.113.8 -j KUBE-EXT-@
        KUBE-FW-@: -m comment --comment "other traffic to ns1/svc1:p80 will be dropped by KUBE-PROXY-FIREWALL"
        filter KUBE-PROXY-FIREWALL: -m comment --comment "ns1/svc1:p80 traffic not accepted by KUBE-FW-@" -m tcp -p tcp -d 203.0.113.9 --dport 80 -j DROP
        filter KUBE-PROXY-FIREWALL: -m comment --comment "ns1/svc1:p80 traffic not accepted by KUBE-FW-@" -m tcp -p tcp -d 203.0.113.8 --dport 80 -j DROP
        """,
        spec=LB | {"loadBalancerSourceRanges": ["198.51.100.0/24", "192.168.0.0/16"]},
        vips=("203.0.113.9", "203.0.113.8"),
    ),
    Shape(
        "source ranges without a VIP: no firewall",
        f"""
        {TO_CLUSTER_IP}
        {TO_NODE_PORT}
        {MASQUERADE}
        {BALANCE}
        {MASQUERADE_ALL_SOURCES}
        KUBE-EXT-@: -j KUBE-SVC-@
        """,
        spec=LB | {"loadBalancerSourceRanges": ["198.51.100.0/24"]},
        node_port=30080,
    ),
    Shape(
        "affinity",
        """
        KUBE-SERVICES[172.30.0.41]: -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-@
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m recent --name A1 --update --seconds 300 --reap -p tcp -j DNAT --to-destination 10.180.0.1:8080
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m recent --name B1 --update --seconds 300 --reap -p tcp -j DNAT --to-destination 10.180.1.1:8080
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m statistic --mode random --probability 0.5000000000 -m recent --name A1 --set -p tcp -j DNAT --to-destination 10.180.0.1:8080
        KUBE-SVC-@: -m comment --comment "ns1/svc1:p80" -m recent --name B1 --set -p tcp -j DNAT --to-destination 10.180.1.1:8080
        """,
        spec={"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 300}}},
        options=RenderOptions(),
    ),
    Shape(
        "masquerade all",
        f"""
        {TO_CLUSTER_IP}
        {MASQUERADE.replace("! -s 10.180.0.0/16 ", "")}
        {BALANCE}
        """,
        options=RenderOptions(local=PODS, masquerade_all=True),
    ),
    Shape("no detector", "\n".join([TO_CLUSTER_IP, BALANCE]), options=RenderOptions()),
    Shape(
        "an interface as detector",
        f"""
        {TO_CLUSTER_IP}
        {MASQUERADE.replace("! -s 10.180.0.0/16", "! -i veth+")}
        {BALANCE}
        """,
        options=RenderOptions(local=LocalTraffic(interface_prefix="veth")),
    ),
    Shape(
        "a big cluster: no comments in the per-service balancing rules",
        """
        KUBE-SERVICES[172.30.0.41]: -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-@
        KUBE-SVC-@: -m statistic --mode random --probability 0.5000000000 -p tcp -j DNAT --to-destination 10.180.0.1:8080
        KUBE-SVC-@: -p tcp -j DNAT --to-destination 10.180.1.1:8080
        """,
        options=RenderOptions(comments=False),
    ),
]
