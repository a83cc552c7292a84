"""One program's rules give way to another's under traffic: no connection is lost, and nothing of the old is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.controlplane.traffic import Way
from tests.lab import FAMILIES, Agent, Outcome, Probe
from tests.lab.agent import eventually
from tests.lab.manifests import Port, endpoint_slice, service
from tests.takeover.gaps import Gaps, TimedTraffic
from tests.takeover.masters import Master, kinds, kproxy, kube_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.manifests import Object
    from tests.oracle.cluster import OracleCluster

pytestmark = pytest.mark.root

CLUSTER_IPS = ("10.96.77.7", "fd00:10:96::77")
NODE_PORT = 30777
PORT = Port("http", "tcp", 80, 8080, node_port=NODE_PORT)
STAYS, LEAVES, COMES = "b1", "a2", "a1"

CHANGES = [
    (kube_proxy("iptables", "nft"), kproxy("iptables", "nft")),
    (kube_proxy("iptables", "nft"), kproxy("nftables")),
    (kube_proxy("iptables", "legacy"), kproxy("iptables", "legacy")),
    (kube_proxy("iptables", "legacy"), kproxy("nftables")),
    (kube_proxy("nftables"), kproxy("nftables")),
    (kube_proxy("nftables"), kproxy("iptables", "nft")),
    (kproxy("iptables", "nft"), kproxy("nftables")),
    (kproxy("iptables", "legacy"), kproxy("nftables")),
    (kproxy("nftables"), kproxy("iptables", "nft")),
    (kproxy("nftables"), kproxy("nftables")),
    (kproxy("iptables", "nft"), kproxy("iptables", "nft")),
]


def objects(cluster: OracleCluster, *endpoints: str) -> list[Object]:
    slices = [
        endpoint_slice("switch", family, [PORT], [cluster.endpoint(host, family) for host in endpoints])
        for family in FAMILIES
    ]
    return [service("switch", [PORT], list(CLUSTER_IPS), kind="NodePort"), *slices]


@pytest.fixture
def node_port_ways(cluster: OracleCluster) -> list[Way]:
    addresses = [cluster.address("node-a", family) for family in FAMILIES]
    return [Way("client", address, NODE_PORT) for address in addresses]


@pytest.fixture(autouse=True)
def _bare_node(cluster: OracleCluster) -> Iterator[None]:
    yield
    for family in ("ip", "ip6"):
        for variant in ("nft", "legacy"):
            for table in ("nat", "filter", "mangle"):
                flush = f"*{table}\nCOMMIT\n"
                cluster.node.run(f"{family}tables-{variant}-restore", stdin=flush)
        for table in ("kproxy", "kube-proxy"):
            cluster.node.run("nft", "delete", "table", family, table, check=False)
    cluster.manifests.clear()


def start(cluster: OracleCluster, master: Master) -> Agent:
    cluster.program = master.program
    agent = cluster.agent(*master.arguments)
    agent.start()
    agent.wait_ready(60)
    return agent


def who_answers(cluster: OracleCluster, ways: list[Way]) -> list[set[str]]:
    probes = [Probe(way.source, way.address, way.port, count=24) for way in ways]
    reports = cluster.probe_all(probes)
    return [{one.who for one in report.answers if one.outcome is Outcome.ANSWERED} for report in reports]


@pytest.mark.parametrize(
    ("before", "after"), CHANGES, ids=[f"{a.name}, {b.name}".replace(" ", "_") for a, b in CHANGES]
)
def test_a_node_changes_hands(
    before: Master, after: Master, cluster: OracleCluster, node_port_ways: list[Way], gaps: Gaps
) -> None:
    cluster.manifests.write("node", [cluster.node_object()])
    cluster.manifests.write("switch", objects(cluster, STAYS, LEAVES))
    ways = [*(Way("a1", address, 80) for address in CLUSTER_IPS), *node_port_ways]
    first = start(cluster, before)
    eventually(lambda: who_answers(cluster, ways) == [{STAYS, LEAVES}] * len(ways), "both endpoints answer")
    assert kinds(cluster.node) == before.rules
    with TimedTraffic(cluster, ways, {STAYS, LEAVES, COMES}) as traffic:
        first.stop()
        second = start(cluster, after)
        try:
            eventually(lambda: kinds(cluster.node) == after.rules, f"only {set(after.rules)} are left", 15)
            # Changes go through the new one's rules now.
            cluster.manifests.write("switch", objects(cluster, STAYS, COMES))
            eventually(lambda: who_answers(cluster, ways) == [{STAYS, COMES}] * len(ways), "the change has effect")
        finally:
            second.stop()
        traffic.check()
    gaps.add(f"{before.name} -> {after.name}", traffic.longest_gap_s(), traffic.connections)
