"""A node that changes hands while clients connect: the same in every lab, whoever the two programs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.controlplane.traffic import Way
from tests.lab import FAMILIES, Outcome, Probe
from tests.lab.agent import eventually
from tests.lab.manifests import Port, endpoint_slice, service
from tests.takeover.gaps import Gaps, TimedTraffic
from tests.takeover.masters import REMAINS, Master, kinds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Agent, Cluster
    from tests.lab.manifests import Object

CLUSTER_IPS = ("10.96.77.7", "fd00:10:96::77")
NODE_PORT = 30777
PORT = Port("http", "tcp", 80, 8080, node_port=NODE_PORT)
STAYS, LEAVES, COMES = "b1", "a2", "a1"


GONE_S = 60
"""A connection that was reset is remembered by IPVS for ten seconds, and looked for every ten."""


def change_hands(
    cluster: Cluster,
    before: Master,
    after: Master,
    agent: Callable[[Master], Agent],
    gaps: Gaps,
    *,
    restart: bool = False,
) -> None:
    """`before` serves, ends, and `after` takes over: connections that are held live on, new ones are never refused.

    What a mode needs for its connections may stay as long as they do, also when the new one starts anew (`restart`).
    """
    cluster.manifests.write("node", [cluster.node_object()])
    cluster.manifests.write("switch", objects(cluster, STAYS, LEAVES))
    node_addresses = [cluster.address("node-a", family) for family in FAMILIES]
    ways = [*(Way("a1", one, 80) for one in CLUSTER_IPS), *(Way("client", one, NODE_PORT) for one in node_addresses)]
    first, second = started(agent(before)), agent(after)
    eventually(lambda: who_answers(cluster, ways) == [{STAYS, LEAVES}] * len(ways), "both endpoints answer")
    assert kinds(cluster.node) == before.rules
    remains: frozenset[str] = REMAINS if before.rules & REMAINS else frozenset()
    try:
        with TimedTraffic(cluster, ways, {STAYS, LEAVES, COMES}) as traffic:
            first.stop()
            started(second)
            eventually(lambda: kinds(cluster.node) - remains == after.rules - remains, f"{set(after.rules)} serve", 15)
            if restart:
                second.stop()
                started(second)
            # Changes go through the new one's rules now.
            cluster.manifests.write("switch", objects(cluster, STAYS, COMES))
            eventually(lambda: who_answers(cluster, ways) == [{STAYS, COMES}] * len(ways), "the change has effect")
            traffic.check()
        only = f"only {set(after.rules)} are left"
        eventually(lambda: kinds(cluster.node) == after.rules, only, GONE_S if remains else 1)
    finally:
        second.stop()
    gaps.add(f"{before.name} -> {after.name}", traffic)


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
