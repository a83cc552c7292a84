"""The agent in IPVS mode, when a Service goes that still has connections; ipvsadm, ip and nft are the witnesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.lab import FAMILIES, Cluster, Outcome, Probe
from tests.lab.agent import eventually
from tests.lab.manifests import Port, endpoint_slice, service
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Agent, Held
    from tests.lab.manifests import Object

pytestmark = [pytest.mark.root, pytest.mark.uml, needs_ipvs]

IPVS = ("--proxy-mode=ipvs", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48", "--ipvs-sync-period=1s", *LEAVE_CONNTRACK)
CLUSTER_IPS = {"ipv4": "10.96.77.7", "ipv6": "fd00:10:96::77"}
NODE_PORT = 30777
PORT = Port("http", "tcp", 80, 8080, node_port=NODE_PORT)
GONE_S = 60
"""A connection that was reset is remembered for ten seconds, and looked for every ten."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(protocols=("tcp",)) as made:
        made.manifests.write("node", [made.node_object()])
        made.manifests.write("web", web(made, "b1"))
        yield made


def web(cluster: Cluster, *hosts: str) -> list[Object]:
    slices = [
        endpoint_slice("web", family, [PORT], [cluster.endpoint(host, family) for host in hosts]) for family in FAMILIES
    ]
    return [service("web", [PORT], list(CLUSTER_IPS.values()), kind="NodePort"), *slices]


def ways(cluster: Cluster) -> list[tuple[str, str, int]]:
    """From a pod to the clusterIP, from the node itself too, and from outside to the node port, in both families."""
    found = []
    for family in FAMILIES:
        found += [(source, CLUSTER_IPS[family], 80) for source in ("a1", "node-a")]
        found.append(("client", cluster.address("node-a", family), NODE_PORT))
    return found


def outcomes(cluster: Cluster) -> list[Outcome]:
    """What becomes of new connections."""
    reports = cluster.probe_all([Probe(*way) for way in ways(cluster)])
    return [answer.outcome for report in reports for answer in report.answers]


def servers(cluster: Cluster) -> list[str]:
    return cluster.node.run("ipvsadm", "-Sn").splitlines()


def weights(cluster: Cluster) -> set[str]:
    return {line.split()[-1] for line in servers(cluster) if line.startswith("-a")}


def vips(cluster: Cluster) -> set[str]:
    listed = cluster.node.run("ip", "-o", "address", "show", "dev", "kube-ipvs0").splitlines()
    return {line.split()[3].split("/")[0] for line in listed if "scope link" not in line}


def draining(cluster: Cluster) -> int:
    listed = [cluster.node.run("nft", "list", "set", word, "kproxy-ipvs", "ipvs-draining") for word in ("ip", "ip6")]
    return sum(text.count(" tcp ") + text.count(". 6 .") for text in listed)


def answered(held: list[Held]) -> list[Outcome]:
    return [one.ask().outcome for one in held]


def started(cluster: Cluster) -> Agent:
    agent = cluster.agent(*IPVS)
    agent.start()
    agent.wait_ready(60)
    return agent


def test_connections_outlive_their_service(cluster: Cluster) -> None:
    agent = started(cluster)
    held = [cluster.hold(*way) for way in ways(cluster)]
    good = [Outcome.ANSWERED] * len(held)
    assert [one.opened.outcome for one in held] == good

    cluster.manifests.remove("web")
    eventually(lambda: weights(cluster) == {"0"}, "all destinations drain", 30)
    assert answered(held) == good
    assert outcomes(cluster) == [Outcome.REFUSED] * len(held)
    assert (vips(cluster), draining(cluster)) == (set(CLUSTER_IPS.values()), 4)

    agent.stop()
    agent = started(cluster)
    assert weights(cluster) == {"0"}
    assert answered(held) == good
    assert outcomes(cluster) == [Outcome.REFUSED] * len(held)

    for one in held:
        one.close()
    nothing: tuple[list[str], set[str], int] = ([], set(), 0)
    eventually(lambda: (servers(cluster), vips(cluster), draining(cluster)) == nothing, "nothing is left", GONE_S)
    agent.stop()


def test_a_service_that_returns_is_served_at_once(cluster: Cluster) -> None:
    agent = started(cluster)
    held = [cluster.hold(*way) for way in ways(cluster)]
    cluster.manifests.remove("web")
    eventually(lambda: weights(cluster) == {"0"}, "all destinations drain", 30)
    cluster.manifests.write("web", web(cluster, "b1", "a2"))
    good = [Outcome.ANSWERED] * len(held)
    eventually(lambda: outcomes(cluster) == good, "the Service is back", 30)
    assert answered(held) == good
    assert (weights(cluster), draining(cluster)) == ({"1"}, 0)
    for one in held:
        one.close()
    agent.stop()
