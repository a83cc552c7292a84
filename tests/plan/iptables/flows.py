"""The flow table: the rows of reference section 10 that rules alone decide.

The lab sends real packets through the same rows; here they are traced through the rendered chains.
Reset instead of an ICMP error for refused TCP is the one intended difference from kube-proxy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kproxy.state.addresses import Family
from tests.plan.iptables.tracer import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

V4, V6 = Family.IPV4, Family.IPV6
NODE_PORT = 30080


# What is expected.


@dataclass(frozen=True)
class Expected:
    """`verdict`, and for what goes through the endpoints (each with its equal share) and whether it is masqueraded.

    A pod that reaches itself is masqueraded in every case (hairpin). Without endpoints the packet is not translated.
    """

    verdict: Verdict | None
    endpoints: str = ""
    snat: bool = False

    def __str__(self) -> str:
        if self.verdict is not Verdict.ACCEPTED:
            return self.verdict.value if self.verdict else "refused"
        return f"to {self.endpoints}{', SNAT' * self.snat}" if self.endpoints else "not handled"


def to(endpoints: str, *, snat: bool = False) -> Expected:
    return Expected(Verdict.ACCEPTED, endpoints, snat)


def snat(endpoints: str) -> Expected:
    return to(endpoints, snat=True)


REJECT = Expected(None)
DROP = Expected(Verdict.DROPPED)
PASS = Expected(Verdict.ACCEPTED)


# A line of the table.


@dataclass(frozen=True)
class Flow:
    """`row` is the number in section 10. `svc` is words (see `flow_objects.make_service`), `flags` kproxy's by name."""

    row: str
    source: str
    destination: str
    svc: str
    endpoints: str
    expected: Expected
    flags: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0
    zone: str = "z1"
    families: Sequence[Family] = (V4, V6)
    forward_policy: Verdict = Verdict.ACCEPTED
    bound: str = ""

    def __str__(self) -> str:
        return f"{self.row}: {self.source} to {self.destination}, {self.svc}, {self.endpoints or 'none'}"


def cluster_ip(row: object, source: str, endpoints: str, expected: Expected, svc: str = "", **more: Any) -> Flow:
    return Flow(str(row), source, "C", f"ClusterIP {svc}".strip(), endpoints, expected, **more)


def external_ip(row: object, source: str, endpoints: str, expected: Expected, svc: str = "", **more: Any) -> Flow:
    return Flow(str(row), source, "X", f"ClusterIP externalIPs {svc}".strip(), endpoints, expected, **more)


def balancer(row: object, source: str, endpoints: str, expected: Expected, svc: str = "", **more: Any) -> Flow:
    place = more.pop("destination", "L")
    return Flow(str(row), source, place, f"LoadBalancer {svc}".strip(), endpoints, expected, **more)


def node_port(row: object, source: str, endpoints: str, expected: Expected, svc: str = "", **more: Any) -> Flow:
    place = more.pop("destination", "NA")
    port = more.pop("port", NODE_PORT)
    return Flow(str(row), source, place, f"NodePort {svc}".strip(), endpoints, expected, port=port, **more)


NO_DETECTOR = {"cluster_cidr": ()}
NODE_CIDR = {"detect_local_mode": "NodeCIDR"}
PREFIX = {"detect_local_mode": "InterfaceNamePrefix", "pod_interface_name_prefix": "veth"}
BRIDGE = {"detect_local_mode": "BridgeInterface", "pod_bridge_interface": "vetha9"}
PRIMARY = {"nodeport_addresses": ("primary",)}

FLOWS = [
    # 10.1 ClusterIP
    cluster_ip(1, "pod", "a1 b1", to("a1 b1")),
    cluster_ip(1, "pod", "a1 a2 b1 b2 b3 b4 b5", to("a1 a2 b1 b2 b3 b4 b5")),
    cluster_ip(2, "a1", "a1 b1", to("a1 b1")),
    cluster_ip(2, "a1", "a1", to("a1")),
    cluster_ip(3, "NA", "a1 b1", snat("a1 b1")),
    cluster_ip(4, "outside", "a1 b1", snat("a1 b1")),
    cluster_ip(5, "pod", "a1 b1", snat("a1 b1"), flags={"masquerade_all": True}),
    cluster_ip(6, "NA", "a1 b1", to("a1 b1"), flags=NO_DETECTOR),
    cluster_ip(6, "a1", "a1 b1", to("a1 b1"), flags=NO_DETECTOR),
    cluster_ip(8, "far pod", "a1 b1", to("a1 b1")),
    cluster_ip(9, "far pod", "a1 b1", snat("a1 b1"), flags=NODE_CIDR),
    cluster_ip(9, "far pod", "a1 b1", snat("a1 b1"), flags=PREFIX),
    cluster_ip(9, "far pod", "a1 b1", snat("a1 b1"), flags=BRIDGE),
    cluster_ip(9, "pod", "a1 b1", to("a1 b1"), flags=NODE_CIDR),
    cluster_ip(9, "pod", "a1 b1", to("a1 b1"), flags=PREFIX),
    cluster_ip(9, "pod", "a1 b1", to("a1 b1"), flags=BRIDGE),
    cluster_ip(9, "NA", "a1 b1", snat("a1 b1"), flags=PREFIX),
    cluster_ip(10, "pod", "", REJECT),
    cluster_ip(11, "NA", "", REJECT),
    cluster_ip(12, "pod", "a1!dead b1!dead", REJECT),
    cluster_ip(13, "pod", "a1!term b1!term", to("a1 b1")),
    cluster_ip(14, "pod", "a1!term b1", to("b1")),
    cluster_ip(15, "pod", "a1 a2 b1", to("a1 a2"), "iTP"),
    cluster_ip(16, "NA", "a1 b1", snat("a1"), "iTP"),
    cluster_ip(17, "pod", "b1", DROP, "iTP"),
    cluster_ip(17, "NA", "b1", DROP, "iTP"),
    cluster_ip(18, "pod", "a1!term b1", to("a1"), "iTP"),
    cluster_ip(19, "pod", "a1!dead b1", DROP, "iTP"),
    cluster_ip(20, "pod", "a1!dead", REJECT, "iTP"),
    cluster_ip(23, "pod", "a1", PASS, port=81),
    Flow("27", "pod", "unallocated", "ClusterIP", "a1", PASS),
    cluster_ip(31, "pod", "a1", PASS, "headless"),
    cluster_ip(31, "pod", "a1", PASS, "ExternalName"),
    cluster_ip(31, "pod", "a1", PASS, "foreign"),
    # 10.2 Topology
    cluster_ip(32, "pod", "a1@z1 b1@z2", to("a1")),
    cluster_ip(33, "pod", "a1@z2 b1@z3", to("a1 b1")),
    cluster_ip(34, "pod", "a1@z1 b1", to("a1 b1")),
    cluster_ip(35, "pod", "a1@z1 b1@z2", to("a1 b1"), zone=""),
    cluster_ip(36, "pod", "a1%node-a b1%node-b", to("a1")),
    cluster_ip(37, "pod", "b1%node-b@z1 b2%node-b@z2", to("b1")),
    cluster_ip(38, "pod", "b1@z2 a1@z1!unready", to("b1")),
    cluster_ip(39, "pod", "a1@z2!term b1@z1!term", to("a1 b1")),
    node_port(40, "outside", "a1@z2 b1@z1", to("a1"), "eTP"),
    node_port(41, "pod", "b1@z1 b2@z2", to("b1"), "eTP"),
    # 10.3 ExternalIP
    external_ip(42, "outside", "a1 b1", snat("a1 b1")),
    external_ip(43, "pod", "a1 b1", snat("a1 b1")),
    external_ip(44, "outside", "a1 b1", to("a1"), "eTP"),
    external_ip(45, "pod", "b1", to("b1"), "eTP"),
    external_ip(45, "pod", "a1 b1", to("a1 b1"), "eTP"),
    external_ip(46, "NA", "b1", snat("b1"), "eTP"),
    external_ip(46, "NA", "b1", snat("b1"), "eTP", flags=NO_DETECTOR),
    external_ip(47, "outside", "b1", DROP, "eTP"),
    external_ip("47 (no detector)", "pod", "b1", DROP, "eTP", flags=NO_DETECTOR),
    external_ip(48, "outside", "", REJECT),
    external_ip(48, "pod", "", REJECT, "eTP"),
    external_ip(49, "NA", "", PASS),
    external_ip(51, "outside", "a1", PASS, flags={"feature_gates": ("AllowServiceExternalIPs=false",)}),
    # 10.4 LoadBalancer VIP
    balancer(52, "outside", "a1 b1", snat("a1 b1")),
    balancer(53, "outside", "a1 b1", to("a1"), "eTP"),
    balancer(54, "outside", "b1", DROP, "eTP"),
    balancer(56, "outside", "a1!term b1!dead", to("a1"), "eTP"),
    balancer(56, "outside", "a1!term b1", to("a1"), "eTP"),
    balancer(57, "pod", "a1 b1", to("a1 b1"), "eTP"),
    balancer(58, "pod", "a1 b1", PASS, "Proxy"),
    balancer(59, "outside", "a1 b1", snat("a1 b1"), "ranges=outside"),
    balancer(59, "outside", "a1 b1", to("a1"), "ranges=outside eTP"),
    balancer(60, "outside", "a1 b1", DROP, "ranges=elsewhere"),
    balancer("60 (local)", "NA", "a1 b1", DROP, "ranges=elsewhere"),
    balancer(61, "pod", "a1 b1", DROP, "ranges=outside"),
    balancer(62, "L", "a1 b1", snat("a1 b1"), "ranges=node", bound="L"),
    balancer("62 (node outside)", "L", "a1 b1", DROP, "ranges=outside", bound="L"),
    balancer(64, "outside", "", REJECT, "ranges=elsewhere"),
    balancer("60 (and no local one)", "outside", "b1", DROP, "ranges=elsewhere eTP"),
    balancer(66, "outside", "a1 b1", snat("a1 b1"), "ranges=other-family"),
    # 10.5 NodePort
    node_port(67, "outside", "a1 b1", snat("a1 b1")),
    node_port(68, "pod", "a1 b1", snat("a1 b1")),
    node_port(69, "outside", "a1 b1", to("a1"), "eTP"),
    node_port(70, "outside", "b1", DROP, "eTP"),
    node_port(71, "pod", "b1", to("b1"), "eTP"),
    node_port(72, "NA", "b1", snat("b1"), "eTP"),
    node_port(73, "pod", "b1", PASS, "eTP", destination="NB"),
    node_port(74, "outside", "", REJECT),
    balancer(75, "outside", "a1 b1", snat("a1 b1"), "ranges=elsewhere", destination="NA", port=NODE_PORT),
    node_port(76, "lo", "a1 b1", snat("a1 b1"), destination="lo", families=[V4]),
    node_port(76, "lo", "b1", snat("b1"), "eTP", destination="lo", families=[V4]),
    node_port(77, "lo", "a1", PASS, destination="lo", flags={"iptables_localhost_nodeports": False}),
    node_port(
        77,
        "lo",
        "a1",
        PASS,
        destination="lo",
        flags={"nodeport_addresses": ("192.168.0.0/16", "fd00:192::/32")},
    ),
    node_port(78, "lo", "a1", PASS, destination="lo", families=[V6]),
    Flow("82", "outside", "lo", "NodePort", "a1", DROP, port=22, families=[V4]),
    node_port("83 (the first address)", "outside", "a1", snat("a1"), flags=PRIMARY),
    node_port(83, "outside", "a1", PASS, destination="NA2", flags=PRIMARY),
    node_port(84, "outside", "", REJECT, destination="NA2", flags=PRIMARY),
    node_port("83 (all)", "outside", "a1", snat("a1"), destination="NA2"),
    node_port("23 (as node port)", "outside", "a1", PASS, port=30999),
    # 10.6: a FORWARD chain that drops.
    node_port(99, "outside", "a1 b1", snat("a1 b1"), forward_policy=Verdict.DROPPED),
    node_port(100, "outside", "a1", DROP, "eTP", forward_policy=Verdict.DROPPED),
    # Both policies Local at once.
    cluster_ip("15", "pod", "a1 b1", to("a1"), "iTP eTP externalIPs"),
    external_ip("44", "outside", "a1 b1", to("a1"), "iTP eTP"),
    external_ip("42", "outside", "b1", snat("b1"), "iTP"),
    cluster_ip("17", "pod", "b1", DROP, "iTP externalIPs"),
    # The clusterIP of a Service that is Local from outside is not Local.
    cluster_ip("1", "pod", "b1", to("b1"), "eTP externalIPs"),
    cluster_ip("3", "NA", "b1", snat("b1"), "eTP externalIPs"),
]
