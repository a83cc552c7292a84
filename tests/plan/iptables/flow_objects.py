"""The objects of the flow table: addresses by name, and a Service, its endpoints and the node in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kproxy.state.addresses import Family
from kproxy.state.service import PROTOCOLS
from tests.plan.iptables.flows import NODE_PORT
from tests.plan.iptables.rig import Rig
from tests.state.objects import NODE, PROXY_NAME, node, service
from tests.state.shorthand import PORT, make_slice, pod_ip

if TYPE_CHECKING:
    from kproxy.kube import wire
    from tests.plan.iptables.flows import Flow

V4, V6 = Family.IPV4, Family.IPV6
HEALTH_PORT = 31000

ADDRESSES: dict[str, dict[Family, str]] = {
    "C": {V4: "172.30.0.41", V6: "fd00:172:30::41"},
    "X": {V4: "192.0.2.41", V6: "2001:db8:2::41"},
    "L": {V4: "203.0.113.41", V6: "2001:db8:113::41"},
    "NA": {V4: "192.168.0.1", V6: "fd00:192:168::1"},
    "NA2": {V4: "192.168.7.1", V6: "fd00:192:168:7::1"},
    "NB": {V4: "192.168.0.2", V6: "fd00:192:168::2"},
    "lo": {V4: "127.0.0.1", V6: "::1"},
    "outside": {V4: "198.51.100.5", V6: "2001:db8:5::5"},
    "unallocated": {V4: "172.30.9.9", V6: "fd00:172:30::9999"},
    "pod": {V4: pod_ip("a9", V4), V6: pod_ip("a9", V6)},
    "a1": {V4: pod_ip("a1", V4), V6: pod_ip("a1", V6)},
    "far pod": {V4: pod_ip("b9", V4), V6: pod_ip("b9", V6)},
}
#: Where packets of a source come in. None: it is a process of node A.
INTERFACES = {"pod": "vetha9", "a1": "vetha1", "NA": None, "lo": None, "L": None}

RANGES: dict[str, dict[Family, list[str]]] = {
    "outside": {V4: ["198.51.100.0/24"], V6: ["2001:db8:5::/64"]},
    "elsewhere": {V4: ["198.18.0.0/15"], V6: ["2001:db8:18::/48"]},
    "node": {V4: ["192.168.0.0/24"], V6: ["fd00:192:168::/64"]},
    "other-family": {V4: ["2001:db8:18::/48"], V6: ["198.18.0.0/15"]},
}


def make_service(words: str, family: Family) -> wire.Service:
    """A Service of one port per protocol. The first word is its type, the others are keys of `options` below."""
    kind, *rest = words.split()
    number = {} if kind == "ClusterIP" else {"nodePort": NODE_PORT}
    ports = [{"name": name.lower(), "protocol": name, "port": 80, **number} for name in PROTOCOLS]
    spec: dict[str, Any] = {"type": kind, "ips": [ADDRESSES["C"][family]], "ports": ports}
    vip = {"ip": ADDRESSES["L"][family], "ipMode": "VIP"}
    options: dict[str, dict[str, Any]] = {
        "iTP": {"internalTrafficPolicy": "Local"},
        "eTP": {"externalTrafficPolicy": "Local", "healthCheckNodePort": HEALTH_PORT},
        "externalIPs": {"externalIPs": [ADDRESSES["X"][family]]},
        "Proxy": {"ingress": [{**vip, "ipMode": "Proxy"}]},
        "affinity": {"sessionAffinity": "ClientIP"},
        "headless": {"ips": (), "clusterIP": "None"},
        "ExternalName": {"type": "ExternalName"},
        "foreign": {"labels": {PROXY_NAME: "other"}},
        **{f"ranges={name}": {"loadBalancerSourceRanges": cidrs[family]} for name, cidrs in RANGES.items()},
    }
    if kind == "LoadBalancer":
        spec["ingress"] = [vip]
    for word in rest:
        spec |= options[word]
    return service(**spec)


def make_rig(flow: Flow, family: Family) -> Rig:
    addresses = [ADDRESSES[name][family] for name in ("NA", "NA2", *([flow.bound] if flow.bound else []))]
    ports = [{"name": protocol.lower(), "protocol": protocol, "port": PORT} for protocol in PROTOCOLS]
    rig = Rig(family, addresses, **flow.flags)
    me = node(
        NODE,
        labels={"topology.kubernetes.io/zone": flow.zone} if flow.zone else None,
        addresses=[("InternalIP", ADDRESSES["NA"][family])],
        podCIDRs=["10.180.0.0/24", "fd00:180:a::/64"],
    )
    return rig.load(me, make_service(flow.svc, family), make_slice(flow.endpoints, "s", "ns1/svc1", family, ports))
