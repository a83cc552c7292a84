"""A node that changes hands while clients connect: the same in every lab, whoever the two programs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.controlplane.traffic import Way
from tests.lab import FAMILIES, Outcome, Probe
from tests.lab.agent import eventually
from tests.lab.manifests import Port, endpoint_slice, service
from tests.takeover.gaps import Gaps, TimedTraffic
from tests.takeover.masters import Master, kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Agent, Cluster
    from tests.lab.manifests import Object

CLUSTER_IPS = ("10.96.77.7", "fd00:10:96::77")
NODE_PORT = 30777
PORT = Port("http", "tcp", 80, 8080, node_port=NODE_PORT)
STAYS, LEAVES, COMES = "b1", "a2", "a1"


def change_hands(
    cluster: Cluster, before: Master, after: Master, agent: Callable[[Master], Agent], gaps: Gaps, *, held: bool = True
) -> None:
    """`before` serves, ends, and `after` takes over; `held` connections live on, and new ones are never refused."""
    cluster.manifests.write("node", [cluster.node_object()])
    cluster.manifests.write("switch", objects(cluster, STAYS, LEAVES))
    node_addresses = [cluster.address("node-a", family) for family in FAMILIES]
    ways = [*(Way("a1", one, 80) for one in CLUSTER_IPS), *(Way("client", one, NODE_PORT) for one in node_addresses)]
    first = started(agent(before))
    eventually(lambda: who_answers(cluster, ways) == [{STAYS, LEAVES}] * len(ways), "both endpoints answer")
    assert kinds(cluster.node) == before.rules
    with TimedTraffic(cluster, ways, {STAYS, LEAVES, COMES}) as traffic:
        first.stop()
        second = started(agent(after))
        try:
            eventually(lambda: kinds(cluster.node) == after.rules, f"only {set(after.rules)} are left", 15)
            # Changes go through the new one's rules now.
            cluster.manifests.write("switch", objects(cluster, STAYS, COMES))
            eventually(lambda: who_answers(cluster, ways) == [{STAYS, COMES}] * len(ways), "the change has effect")
        finally:
            second.stop()
        traffic.check(held=held)
    gaps.add(f"{before.name} -> {after.name}", traffic.longest_gap_s(), traffic.connections)


def objects(cluster: Cluster, *endpoints: str) -> list[Object]:
    slices = [
        endpoint_slice("switch", family, [PORT], [cluster.endpoint(host, family) for host in endpoints])
        for family in FAMILIES
    ]
    return [service("switch", [PORT], list(CLUSTER_IPS), kind="NodePort"), *slices]


def started(agent: Agent) -> Agent:
    agent.start()
    agent.wait_ready(60)
    return agent


def who_answers(cluster: Cluster, ways: list[Way]) -> list[set[str]]:
    reports = cluster.probe_all([Probe(way.source, way.address, way.port, count=24) for way in ways])
    return [{one.who for one in report.answers if one.outcome is Outcome.ANSWERED} for report in reports]
