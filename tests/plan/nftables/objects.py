"""Services of every kind, for tests of the nftables mode: what a Service may be, and how endpoints may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kproxy.state.addresses import Family
from tests.state.objects import service
from tests.state.shorthand import make_slice

if TYPE_CHECKING:
    from kproxy.kube import wire

CLUSTER_CIDRS = ("10.180.0.0/16", "fd00:180::/32")
NODE_IPS = {Family.IPV4: "192.168.0.1", Family.IPV6: "fd00:192:168::1"}

#: The fields of a Service's spec; True stands for a number of its own, and for addresses of its own.
VARIANTS: list[dict[str, Any]] = [
    {},
    {"type": "NodePort", "nodePort": True},
    {"type": "NodePort", "nodePort": True, "externalTrafficPolicy": "Local"},
    {"internalTrafficPolicy": "Local"},
    {"sessionAffinity": "ClientIP", "nodePort": True, "type": "NodePort"},
    {"type": "LoadBalancer", "ranges": True, "nodePort": True},
    {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "externalIPs": True, "sessionAffinity": "ClientIP"},
    {"clusterIP": "None", "ips": ()},
]
WORDS = ["", "a1", "b1", "a1 b1", "b1 a1 a2", "a1 a2 b1 b2", "a1!term b1", "a1!dead", "a2 b2 b3 b4 b5", "b4 b5 a1"]


def cluster_ip(number: int, family: Family) -> str:
    return f"10.96.0.{number + 1}" if family is Family.IPV4 else f"fd00:10:96::{number + 1:x}"


def vip(number: int, family: Family) -> str:
    return f"203.0.113.{number + 1}" if family is Family.IPV4 else f"2001:db8:113::{number + 1:x}"


def make_service(number: int, variant: int, family: Family) -> wire.Service:
    """Service number N as one of the variants; its addresses and ports are its own, whichever variant it is."""
    spec = dict(VARIANTS[variant])
    port: dict[str, Any] = {"name": "", "port": 80}
    if spec.pop("nodePort", False):
        port["nodePort"] = 30000 + number
    if spec.pop("ranges", False):
        spec |= {"loadBalancerSourceRanges": ["192.168.0.0/16", "192.168.1.0/24", "fd00:192::/32", "10.0.0.0/9"]}
    if spec.pop("externalIPs", False):
        spec["externalIPs"] = [vip(100 + number, family)]
    if spec.get("type") == "LoadBalancer":
        spec["ingress"] = [{"ip": vip(number, family)}]
    return service(f"ns1/svc{number}", **{"ips": [cluster_ip(number, family)], "ports": [port], **spec})


def make_ends(number: int, words: str, family: Family) -> wire.EndpointSlice:
    """The endpoints of Service number N."""
    port = {"name": "", "port": 8080, "protocol": "TCP"}
    return make_slice(words, f"s{number}", f"ns1/svc{number}", family, [port])
