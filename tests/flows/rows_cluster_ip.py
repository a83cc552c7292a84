"""Reference 10.1, ClusterIP, and 10.2, topology."""

# ruff: noqa: E501
# One line per flow, however long: that is what a table is read by.

from __future__ import annotations

from tests.flows.expect import DROPPED, KEPT, MASQUERADED, PASSED, REFUSED, answered
from tests.flows.line import Flow, Line, Scenario
from tests.flows.scenarios import affinity, metrics
from tests.flows.services import cluster_ip, external_ip, node_port

HEADLESS = "service.kubernetes.io/headless"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LOCAL = {"itp_local": True}

# fmt: off
LINES: tuple[Line, ...] = (
    Flow("1", "iTP Cluster, ready on A and B", "inv", cluster_ip("a1 a2 b1 b2"), "PA", "C", answered("a1 a2 b1 b2", even=True)),
    Flow("2", "chosen endpoint is PA itself: hairpin", "inv", cluster_ip("pa a1"), "PA", "C", answered("pa a1")),
    Flow("3", "iTP Cluster, ready", "inv", cluster_ip("a1 b1"), "A", "C", answered("a1 b1", MASQUERADED)),
    Flow("4", "off-cluster host, C routed via A", "inv", cluster_ip("a1 b1"), "EXT", "C", answered("a1 b1", MASQUERADED)),
    Flow("5", "masqueradeAll", "inv", cluster_ip("a1 b1"), "PA", "C", answered("a1 b1", MASQUERADED), config="masquerade-all"),
    Flow("6", "no local detector", "inv", cluster_ip("a1 b1"), "A", "C", answered("a1 b1", KEPT), config="no-detector"),
    Flow("6", "no local detector, hairpin", "inv", cluster_ip("pa"), "PA", "C", answered("pa"), config="no-detector"),
    Flow("7", "no local detector, source is the VIP", "v", cluster_ip("a1 b1"), "A-LO", "C", answered("a1 b1", MASQUERADED), config="no-detector"),
    Flow("8", "packet from PB at A, ClusterCIDR", "inv", cluster_ip("a1 a2"), "PB", "C", answered("a1 a2", KEPT),
         note="endpoints on A only: B's would answer PB directly, past A"),
    Flow("9", "packet from PB at A, NodeCIDR", "inv", cluster_ip("a1 b1"), "PB", "C", answered("a1 b1", MASQUERADED), config="node-cidr"),
    Flow("9", "packet from PA, NodeCIDR", "inv", cluster_ip("a1 b1"), "PA", "C", answered("a1 b1", KEPT), config="node-cidr"),
    Flow("9", "packet from PB at A, BridgeInterface", "inv", cluster_ip("a1 b1"), "PB", "C", answered("a1 b1", MASQUERADED), config="bridge"),
    Flow("9", "packet from PA, BridgeInterface", "inv", cluster_ip("a1 b1"), "PA", "C", answered("a1 b1", KEPT), config="bridge"),
    Flow("9", "packet from PB at A, InterfaceNamePrefix", "inv", cluster_ip("a1 b1"), "PB", "C", answered("a1 b1", MASQUERADED), config="prefix"),
    Flow("9", "packet from PA, InterfaceNamePrefix", "inv", cluster_ip("a1 b1"), "PA", "C", answered("a1 b1", KEPT), config="prefix"),
    Flow("10", "no endpoints at all", "inv", cluster_ip(""), "PA", "C", REFUSED),
    Flow("11", "no endpoints at all", "inv", cluster_ip(""), "A", "C", REFUSED),
    Flow("12", "only not-serving endpoints", "inv", cluster_ip("a1!dead b1!dead"), "PA", "C", REFUSED),
    Flow("13", "no ready, term on A and B", "inv", cluster_ip("a1!term b1!term"), "PA", "C", answered("a1 b1")),
    Flow("14", "ready on B, term on A", "inv", cluster_ip("b1 a1!term"), "PA", "C", answered("b1")),
    Flow("15", "iTP Local, ready on A and B", "inv", cluster_ip("a1 b1", **LOCAL), "PA", "C", answered("a1")),
    Flow("16", "iTP Local, ready on A", "inv", cluster_ip("a1 b1", **LOCAL), "A", "C", answered("a1", MASQUERADED)),
    Flow("17", "iTP Local, ready only on B", "inv", cluster_ip("b1 b2", **LOCAL), "PA", "C", DROPPED),
    Scenario("17", "PA->C iTP Local, ready only on B: gauge", "inv", (cluster_ip("a1", **LOCAL),), metrics.internal_is_counted,
             "no_local_endpoints{internal}+1"),
    Flow("18", "iTP Local, term on A, ready on B", "inv", cluster_ip("a1!term b1", **LOCAL), "PA", "C", answered("a1")),
    Flow("19", "iTP Local, unready on A, ready on B", "inv", cluster_ip("a1!dead b1", **LOCAL), "PA", "C", DROPPED),
    Flow("20", "iTP Local, no usable endpoint anywhere", "inv", cluster_ip("a1!dead b1!dead", **LOCAL), "PA", "C", REFUSED),
    Flow("21", "iTP Local, ready only on B, plain ClusterIP", "v", cluster_ip("b1 b2", **LOCAL), "PA", "C", DROPPED,
         note="as in the other modes, row 17; kube-proxy's IPVS refuses"),
    Flow("22", "iTP Local, ready only on B, also NodePort", "v", node_port("b1 b2", **LOCAL), "PA", "C", DROPPED,
         note="as in the other modes, row 17; kube-proxy's IPVS goes to B"),
    Flow("23", "not a service port: routed as is", "i", cluster_ip("a1 b1"), "PA", "C:81", PASSED),
    Flow("24", "not a service port: rejected", "n", cluster_ip("a1 b1"), "PA", "C:81", REFUSED),
    Flow("25", "not a service port: rejected in INPUT", "v", cluster_ip("a1 b1"), "PA", "C:81", REFUSED),
    Flow("26", "unallocated address of a ServiceCIDR", "n", None, "PA", "U", DROPPED),
    Flow("27", "unallocated address of a ServiceCIDR", "i", None, "PA", "U", PASSED),
    Scenario("28", "PA->C affinity, again within T: same endpoint, timer restarts", "inv", (cluster_ip("a1 a2 b1 b2", affinity_s=affinity.T),),
             affinity.same_within_timeout, "the same endpoint; the timer restarts"),
    Scenario("29", "PA->C affinity, idle longer than T", "in", (cluster_ip("a1 a2 b1 b2", affinity_s=affinity.T),),
             affinity.fresh_after_timeout, "fresh random choice"),
    Scenario("29", "PA->C affinity, idle longer than T, closed connections forgotten", "v", (cluster_ip("a1 a2 b1 b2", affinity_s=affinity.T),),
             affinity.fresh_when_ipvs_looks_again, "fresh choice", note="IPVS extends a pin by a minute while it remembers a connection"),
    Scenario("30", "PA->C affinity, pinned endpoint gone", "inv", (cluster_ip("a1 a2 b1 b2", affinity_s=600),),
             affinity.pinned_endpoint_gone, "fresh choice; those pinned to other endpoints stay"),
    Flow("31", "ExternalName: no rules", "inv", cluster_ip("a1 b1", type="ExternalName"), "PA", "C", PASSED),
    Flow("31", "foreign service-proxy-name: no rules", "inv", cluster_ip("a1 b1", labels={PROXY_NAME: "other"}), "PA", "C", PASSED),
    Flow("31", "empty service-proxy-name: no rules", "inv", cluster_ip("a1 b1", labels={PROXY_NAME: ""}), "PA", "C", PASSED),
    Flow("31", "headless label: no rules", "inv", cluster_ip("a1 b1", labels={HEADLESS: ""}), "PA", "C", PASSED),
    Flow("31", "headless, externalIP: no rules", "inv", external_ip("a1 b1", headless=True), "PA", "X", PASSED),

    # 10.2: node A is in zone z1
    Flow("32", "all have zone hints, some z1", "inv", cluster_ip("a1@z1 b1@z1 a2@z2 b2@z2"), "PA", "C", answered("a1 b1")),
    Flow("33", "all have zone hints, none z1", "inv", cluster_ip("a1@z2 b1@z3"), "PA", "C", answered("a1 b1")),
    Flow("34", "one ready endpoint lacks a zone hint", "inv", cluster_ip("a1@z1 a2@z2 b1"), "PA", "C", answered("a1 a2 b1")),
    Flow("35", "all zone hints, node A without zone label", "inv", cluster_ip("a1@z1 b1@z2"), "PA", "C", answered("a1 b1"), config="no-zone"),
    Flow("36", "all have node hints, some name A", "inv", cluster_ip("a1%node-a@z1 b1%node-b@z1 b2%node-a@z1"), "PA", "C", answered("a1 b2")),
    Flow("37", "all node hints, none A; all zone hints, some z1", "inv", cluster_ip("a1@z1%node-b b1@z2%node-b b2@z1%node-c"), "PA", "C",
         answered("a1 b2")),
    Flow("38", "only ready are remote-zone, unready in z1", "inv", cluster_ip("a1@z1!dead b1@z2 b2@z2"), "PA", "C", answered("b1 b2")),
    Flow("39", "hints, no ready, term exist: hints ignored", "inv", cluster_ip("a1@z1!term b1@z2!term"), "PA", "C", answered("a1 b1")),
    Flow("40", "eTP Local, hints exclude A's local endpoint", "inv", node_port("a1@z2 b1@z1", etp_local=True), "EXT", "NA:NP", answered("a1")),
    Flow("41", "eTP Local, hints: short-circuit uses them", "inv", node_port("a1@z2 b1@z1", etp_local=True), "PA", "NA:NP", answered("b1"),
         note="kube-proxy's IPVS has no short-circuit"),

    Flow("1", "iTP Cluster, ready on A and B", "inv", cluster_ip("a1 b1"), "PA", "C", answered("a1 b1"), protocols=("sctp",)),
    Flow("2", "hairpin", "inv", cluster_ip("pa a1"), "PA", "C", answered("pa a1"), protocols=("sctp",)),
    Flow("3", "iTP Cluster, ready", "inv", cluster_ip("a1 b1"), "A", "C", answered("a1 b1", MASQUERADED), protocols=("sctp",)),
    Flow("10", "no endpoints at all", "inv", cluster_ip(""), "PA", "C", REFUSED, protocols=("sctp",)),
    Flow("17", "iTP Local, ready only on B", "inv", cluster_ip("b1 b2", **LOCAL), "PA", "C", DROPPED, protocols=("sctp",)),
)
# fmt: on
