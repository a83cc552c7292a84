"""Reference 10.6: health, life cycle, conntrack. Almost all of it is more than one packet, so these are scenarios."""

# ruff: noqa: E501
# One line per flow, however long: that is what a table is read by.

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flows.line import Elsewhere, Line, Scenario
from tests.flows.scenarios import changes, forged, health, policy, repair
from tests.flows.services import cluster_ip, external_ip, load_balancer, node_port

if TYPE_CHECKING:
    from tests.lab import Family

LOCAL = {"etp_local": True}
V4: tuple[Family, ...] = ("ipv4",)
HEALTHY = load_balancer("a1 a2 b1", health_port=True, **LOCAL)
#: For the scenarios that need to see that a change has arrived.
TELL_TALE = cluster_ip("a1")

# fmt: off
LINES: tuple[Line, ...] = (
    Scenario("86", "GET healthCheckNodePort, 2 ready local pods", "inv", (HEALTHY,), health.two_local_endpoints,
             "200, weight header 2, localEndpoints 2"),
    Scenario("87", "GET healthCheckNodePort, only terminating local pods", "inv", (load_balancer("a1!term a2!term b1", health_port=True, **LOCAL),),
             health.no_local_endpoints, "503, weight 0"),
    Scenario("88", "GET healthCheckNodePort, a sync pending longer than 2 x syncPeriod", "inv", (HEALTHY, TELL_TALE), health.sync_is_stuck,
             "503, serviceProxyHealthy false", config="stuck", families=V4, alone=True),
    Scenario("89", "GET healthCheckNodePort, Node being deleted", "inv", (HEALTHY,), health.node_deleted, "200 (eligibility not considered)",
             families=V4, alone=True),
    Scenario("90", "GET /healthz, Node tainted ToBeDeletedByClusterAutoscaler", "inv", (), health.node_tainted, "503; /livez 200",
             families=V4, alone=True),
    Scenario("91", "GET /healthz, Node cordoned", "inv", (TELL_TALE,), health.node_cordoned, "200", families=V4, alone=True),
    Scenario("92", "established TCP flow, its endpoint is removed", "inv", (node_port("a1 b1"),), changes.established_endpoint_removed,
             "keeps being forwarded to the old endpoint"),
    Scenario("93", "established TCP flow, Service loses all endpoints", "inv", (node_port("a1"),), changes.established_all_removed,
             "not rejected (only NEW is)"),
    Scenario("94", "UDP flow to C, its endpoint removed, others serve", "inv", (cluster_ip("a1 b1"),), changes.udp_endpoint_removed,
             "entry deleted after the sync; next packet re-balanced"),
    Scenario("95", "UDP flow to C while no endpoints, endpoints appear", "inv", (cluster_ip(""),), changes.udp_endpoints_appear,
             "next packet DNATed"),
    Scenario("95", "UDP flow A->X while no endpoints, endpoints appear", "i", (external_ip(""),), changes.udp_black_hole,
             "black-hole entry deleted; next packet DNATed", note="row 49: the packet leaves the node, which makes the entry"),
    Scenario("96", "UDP flow, last endpoint removed", "inv", (cluster_ip("a1"),), changes.udp_last_endpoint_removed,
             "entry deleted, next packet refused", note="delta 7; the baseline leaves the entry"),
    Scenario("96", "UDP flow, Service deleted", "inv", (cluster_ip("a1"),), changes.udp_service_deleted,
             "entry deleted, next packet not handled", note="delta 7; the baseline leaves the entry"),
    Scenario("97", "UDP flow to terminating-but-serving endpoint", "inv", (cluster_ip("a1"), cluster_ip("a1")), changes.udp_terminating_kept,
             "entry kept"),
    Scenario("98", "TCP segment in state INVALID being forwarded", "i", (), forged.invalid_is_dropped, "dropped"),
    Scenario("98", "TCP segment in state INVALID, be_liberal", "i", (), forged.invalid_is_forwarded, "forwarded", config="liberal"),
    Scenario("98", "TCP segment in state INVALID being forwarded", "nv", (), forged.invalid_is_forwarded, "not dropped"),
    Scenario("99", "FORWARD policy DROP, NodePort eTP Cluster flow", "i", (node_port("a1 b1"),), policy.marked_is_accepted,
             "accepted via mark rule, replies via ESTABLISHED", alone=True),
    Scenario("99", "FORWARD policy DROP, NodePort eTP Cluster flow", "nv", (node_port("a1 b1"),), policy.nothing_is_opened,
             "nothing is opened", alone=True),
    Scenario("100", "FORWARD policy DROP, NodePort eTP Local flow to a local pod", "i", (node_port("a1", **LOCAL),), policy.unmarked_needs_cni,
             "not accepted by the mark rule; CNI must accept", alone=True),
    Scenario("101", "someone flushes all iptables tables", "i", (node_port("a1 b1"), cluster_ip("")), repair.all_tables_flushed,
             "detected within syncPeriod, full rebuild", alone=True),
    Scenario("102", "someone flushes only nat", "i", (node_port("a1 b1"), cluster_ip("")), repair.nat_flushed,
             "detected and repaired", alone=True, note="improvement: the reference repairs it by the hourly full sync only"),
    Scenario("103", "someone deletes table kube-proxy", "nv", (node_port("a1 b1"), cluster_ip("")), repair.table_deleted,
             "repaired at the next event", alone=True),
    Scenario("104", "restart: rules stay, nothing changes until both lists are in", "inv", (node_port("a1 b1"),), repair.restart,
             "rules stay; no connection is lost", alone=True),
    Elsewhere("105", "Slices list synced, Services list not: no sync", "inv",
              "manifests arrive as one list; played with a real API server in tests/controlplane/test_outages.py"),
    Elsewhere("106", "apiserver unreachable: last rules stay, health 200", "inv",
              "there is no API server with manifests; played with a real one in tests/controlplane/test_outages.py"),
)
# fmt: on
