"""Reference 10.3, ExternalIP, 10.4, LoadBalancer VIP, and 10.5, NodePort."""

# ruff: noqa: E501
# One line per flow, however long: that is what a table is read by.

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flows.expect import ANY, DROPPED, MASQUERADED, PASSED, REFUSED, answered, local
from tests.flows.line import Elsewhere, Flow, Line, Scenario
from tests.flows.scenarios import forged, health, metrics
from tests.flows.services import external_ip, load_balancer, node_port

if TYPE_CHECKING:
    from tests.lab import Family

LOCAL = {"etp_local": True}
ONLY_EXT = "client"
V4: tuple[Family, ...] = ("ipv4",)
V6: tuple[Family, ...] = ("ipv6",)

# fmt: off
LINES: tuple[Line, ...] = (
    # 10.3
    Flow("42", "eTP Cluster, ready", "inv", external_ip("a1 b1"), "EXT", "X", answered("a1 b1", MASQUERADED)),
    Flow("43", "eTP Cluster, ready", "inv", external_ip("a1 b1"), "PA", "X", answered("a1 b1", MASQUERADED)),
    Flow("44", "eTP Local, ready on A and B", "inv", external_ip("a1 b1", **LOCAL), "EXT", "X", answered("a1")),
    Flow("45", "eTP Local, ready only on B: short-circuit", "inv", external_ip("b1 b2", **LOCAL), "PA", "X", answered("b1 b2")),
    Flow("46", "eTP Local, ready only on B", "inv", external_ip("b1 b2", **LOCAL), "A", "X", answered("b1 b2", MASQUERADED)),
    Flow("47", "eTP Local, ready only on B", "inv", external_ip("b1 b2", **LOCAL), "EXT", "X", DROPPED),
    Scenario("47", "EXT->X eTP Local, ready only on B: gauge", "inv", (external_ip("a1", **LOCAL),), metrics.external_is_counted,
             "no_local_endpoints{external}+1"),
    Flow("48", "no endpoints", "inv", external_ip(""), "EXT", "X", REFUSED),
    Flow("49", "no endpoints, X not an address of A: leaves node", "i", external_ip(""), "A", "X", PASSED),
    Flow("50", "no endpoints: rejected", "nv", external_ip(""), "A", "X", REFUSED),
    Flow("51", "gate AllowServiceExternalIPs=false", "inv", external_ip("a1 b1"), "EXT", "X", PASSED, config="no-external-ips"),
    Flow("51", "gate AllowServiceExternalIPs=false", "inv", external_ip("a1 b1"), "PA", "X", PASSED, config="no-external-ips"),
    Flow("51", "gate AllowServiceExternalIPs=false", "inv", external_ip("a1 b1"), "A", "X", PASSED, config="no-external-ips"),

    # 10.4
    Flow("52", "eTP Cluster", "inv", load_balancer("a1 b1"), "EXT", "L", answered("a1 b1", MASQUERADED)),
    Flow("53", "eTP Local, ready on A", "inv", load_balancer("a1 b1", **LOCAL), "EXT", "L", answered("a1")),
    Flow("54", "eTP Local, ready only on B", "inv", load_balancer("b1 b2", **LOCAL), "EXT", "L", DROPPED),
    Scenario("54", "eTP Local, ready only on B: health port", "inv", (load_balancer("b1 b2", health_port=True, **LOCAL),),
             health.no_local_endpoints, "the health port answers 503"),
    Flow("55", "eTP Local, ready only on B: dropped", "v", load_balancer("b1 b2", **LOCAL), "EXT", "L", DROPPED),
    Flow("56", "eTP Local, term on A only", "inv", load_balancer("a1!term b1", **LOCAL), "EXT", "L", answered("a1")),
    Scenario("56", "eTP Local, term on A only: health port", "inv", (load_balancer("a1!term b1", health_port=True, **LOCAL),),
             health.no_local_endpoints, "the health port already answers 503"),
    Flow("57", "eTP Local: all cluster endpoints", "inv", load_balancer("a1 b1", **LOCAL), "PA", "L", answered("a1 b1")),
    Flow("57a", "eTP Local, ready on A and B: all", "v", load_balancer("a1 b1", **LOCAL), "PA", "L", answered("a1 b1")),
    Flow("57a", "eTP Local, ready on A and B: all", "v", external_ip("a1 b1", **LOCAL), "PA", "X", answered("a1 b1")),
    Flow("57a", "eTP Local, ready on A and B: all", "v", node_port("a1 b1", **LOCAL), "PA", "NA:NP", answered("a1 b1")),
    Flow("58", "ipMode Proxy: leaves to the real LB", "inv", load_balancer("a1 b1", ip_mode="Proxy"), "PA", "L", PASSED),
    Flow("59", "in sourceRanges", "inv", load_balancer("a1 b1", ranges=ONLY_EXT), "EXT", "L", answered("a1 b1", MASQUERADED)),
    Flow("60", "outside sourceRanges, endpoints exist", "inv", load_balancer("a1 b1", ranges=ONLY_EXT), "OUT", "L", DROPPED),
    Flow("61", "pod IP outside sourceRanges", "inv", load_balancer("a1 b1", ranges=ONLY_EXT), "PA", "L", DROPPED),
    Flow("62", "L bound locally, NA in a range", "in", load_balancer("a1 b1", ranges="node-a"), "A-VIP", "L", answered("a1 b1", ANY)),
    Flow("62", "L bound locally, NA in a range", "v", load_balancer("a1 b1", ranges="node-a"), "A-VIP", "L", answered("a1 b1", MASQUERADED)),
    Flow("63", "L bound locally, NA outside ranges", "v", load_balancer("a1 b1", ranges=ONLY_EXT), "A-VIP", "L", DROPPED),
    Flow("64", "outside sourceRanges, no endpoints", "i", load_balancer("", ranges=ONLY_EXT), "OUT", "L", REFUSED),
    Flow("65", "outside sourceRanges, no endpoints", "nv", load_balancer("", ranges=ONLY_EXT), "OUT", "L", DROPPED),
    Flow("65", "in sourceRanges, no endpoints", "nv", load_balancer("", ranges=ONLY_EXT), "EXT", "L", REFUSED),
    Flow("66", "only IPv6 CIDRs in ranges: no firewall for IPv4", "inv", load_balancer("a1 b1", ranges="2001:db8::/32"), "OUT", "L",
         answered("a1 b1", MASQUERADED), families=V4),
    Flow("66", "only IPv4 CIDRs in ranges: no firewall for IPv6", "inv", load_balancer("a1 b1", ranges="192.0.2.0/24"), "OUT", "L",
         answered("a1 b1", MASQUERADED), families=V6, note="the same rule the other way round, reference 1.5"),

    # 10.5
    Flow("67", "eTP Cluster", "inv", node_port("a1 b1"), "EXT", "NA:NP", answered("a1 b1", MASQUERADED)),
    Flow("68", "eTP Cluster", "inv", node_port("a1 b1"), "PA", "NA:NP", answered("a1 b1", MASQUERADED)),
    Flow("69", "eTP Local, ready on A", "inv", node_port("a1 b1", **LOCAL), "EXT", "NA:NP", answered("a1")),
    Flow("70", "eTP Local, ready only on B", "inv", node_port("b1 b2", **LOCAL), "EXT", "NA:NP", DROPPED),
    Flow("71", "eTP Local, ready only on B", "inv", node_port("b1 b2", **LOCAL), "PA", "NA:NP", answered("b1 b2")),
    Flow("72", "eTP Local, ready only on B", "inv", node_port("b1 b2", **LOCAL), "A", "NA:NP", answered("b1 b2", MASQUERADED)),
    Flow("73", "eTP Local, ready only on B: nothing on A", "i", node_port("b1 b2", **LOCAL), "PA", "NB:NP", local("node-b"), listen="node-b"),
    Flow("74", "no endpoints", "inv", node_port(""), "EXT", "NA:NP", REFUSED, listen="node-a"),
    Flow("75", "LB sourceRanges exclude the source", "inv", load_balancer("a1 b1", ranges=ONLY_EXT), "OUT", "NA:NP", answered("a1 b1", MASQUERADED)),
    Flow("76", "localhostNodePorts true", "i", node_port("a1 b1"), "A-LO", "127.0.0.1:NP", answered("a1 b1", MASQUERADED), families=V4),
    Flow("76", "localhostNodePorts true, eTP Local", "i", node_port("a1 b1", **LOCAL), "A-LO", "127.0.0.1:NP", answered("a1 b1", MASQUERADED),
         families=V4),
    Flow("77", "localhostNodePorts false", "i", node_port("a1 b1"), "A-LO", "127.0.0.1:NP", local("node-a"), listen="node-a",
         config="no-localhost", families=V4),
    Flow("77", "nodePortAddresses without loopback", "i", node_port("a1 b1"), "A-LO", "127.0.0.1:NP", local("node-a"), listen="node-a",
         config="primary", families=V4),
    Flow("78", "never on loopback in IPv6", "i", node_port("a1 b1"), "A-LO", "[::1]:NP", local("node-a"), listen="node-a", families=V6),
    Flow("79", "default", "nv", node_port("a1 b1"), "A-LO", "127.0.0.1:NP", local("node-a"), listen="node-a", families=V4),
    Elsewhere("80", "process on A -> 127.0.0.1:NP TCP, gate on and primary,localhost", "n",
              "kproxy has not got the alpha gate KubeProxyNFTablesLocalhostNodePorts, which is off by default"),
    Flow("81", "gate on and primary,localhost, UDP", "n", node_port("a1 b1"), "A-LO", "127.0.0.1:NP", REFUSED,
         config="localhost-gate", families=V4, protocols=("udp",)),
    Scenario("82", "same-L2 host forges dst 127.0.0.1", "i", (node_port("a1"),), forged.loopback_destination,
             "a host port does not get it; a NodePort number is DNATed first", families=V4),
    Flow("83", "secondary IP of A, nodePortAddresses = primary", "inv", node_port("a1 b1"), "EXT", "NA2:NP", local("node-a"), listen="node-a",
         config="primary"),
    Flow("83", "primary IP of A, nodePortAddresses = primary", "inv", node_port("a1 b1"), "EXT", "NA:NP", answered("a1 b1", MASQUERADED),
         config="primary"),
    Flow("84", "secondary IP of A, nodePortAddresses = primary, no endpoints", "i", node_port(""), "EXT", "NA2:NP", REFUSED, listen="node-a",
         config="primary"),
    Flow("85", "secondary IP of A, nodePortAddresses = primary, no endpoints", "nv", node_port(""), "EXT", "NA2:NP", local("node-a"),
         listen="node-a", config="primary"),

    Flow("42", "eTP Cluster, ready", "inv", external_ip("a1 b1"), "EXT", "X", answered("a1 b1", MASQUERADED), protocols=("sctp",)),
    Flow("52", "eTP Cluster", "inv", load_balancer("a1 b1"), "EXT", "L", answered("a1 b1", MASQUERADED), protocols=("sctp",)),
    Flow("60", "outside sourceRanges", "inv", load_balancer("a1 b1", ranges=ONLY_EXT), "OUT", "L", DROPPED, protocols=("sctp",)),
    Flow("67", "eTP Cluster", "inv", node_port("a1 b1"), "EXT", "NA:NP", answered("a1 b1", MASQUERADED), protocols=("sctp",)),
    Flow("69", "eTP Local, ready on A", "inv", node_port("a1 b1", **LOCAL), "EXT", "NA:NP", answered("a1"), protocols=("sctp",)),
)
# fmt: on
