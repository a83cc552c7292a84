"""Connections that IPVS made, when their Service goes, or IPVS mode does; ipvsadm, ip and nft are the witnesses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.lab import FAMILIES, Cluster, Outcome, Probe
from tests.lab.agent import eventually
from tests.lab.manifests import Port, endpoint_slice, service
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.lab import Agent, Held
    from tests.lab.manifests import Object
    from tests.lab.probe import Protocol

    Way = tuple[str, str, int]
    Hold = Callable[[Protocol, list[Way]], list[Held]]

pytestmark = [pytest.mark.root, pytest.mark.uml, needs_ipvs]

PODS = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"
FLAGS = ("--ipvs-sync-period=1s", *LEAVE_CONNTRACK)
CLUSTER_IPS = {"ipv4": "10.96.77.7", "ipv6": "fd00:10:96::77"}
NODE_PORT = 30777
PORT = Port("http", "tcp", 80, 8080, node_port=NODE_PORT)
UDP_IPS = {"ipv4": "10.96.77.8", "ipv6": "fd00:10:96::78"}
UDP_PORT = Port("dns", "udp", 53, 8080)
HOST_PORT = 2222
"""Of a process of the node that listens on all addresses: no VIP may show it."""
GONE_S = 60
"""A connection that was reset is remembered for ten seconds, and looked for every ten."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.manifests.write("node", [made.node_object()])
        made.manifests.write("web", web(made, "b1"))
        yield made


@pytest.fixture
def hold(cluster: Cluster) -> Iterator[Hold]:
    """Opens conversations; all are closed in the end."""
    opened: list[Held] = []

    def hold(protocol: Protocol, ways: list[Way]) -> list[Held]:
        held = [cluster.hold(*way, protocol) for way in ways]
        opened.extend(held)
        return held

    yield hold
    close(opened)


def close(held: Iterable[Held]) -> None:
    for one in held:
        one.close()


def web(cluster: Cluster, *hosts: str) -> list[Object]:
    ips = list(CLUSTER_IPS.values())
    return [service("web", [PORT], ips, kind="NodePort"), *slices(cluster, "web", PORT, hosts)]


def dns(cluster: Cluster, *hosts: str) -> list[Object]:
    return [service("dns", [UDP_PORT], list(UDP_IPS.values())), *slices(cluster, "dns", UDP_PORT, hosts)]


def slices(cluster: Cluster, name: str, port: Port, hosts: tuple[str, ...]) -> list[Object]:
    return [
        endpoint_slice(name, family, [port], [cluster.endpoint(host, family) for host in hosts]) for family in FAMILIES
    ]


def ways(cluster: Cluster) -> list[Way]:
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


def sources_seen(cluster: Cluster) -> set[str]:
    """Where new connections come from, as endpoints see it."""
    reports = cluster.probe_all([Probe(*way) for way in ways(cluster)])
    return {answer.seen for report in reports for answer in report.answers}


def servers(cluster: Cluster) -> list[str]:
    return cluster.node.run("ipvsadm", "-Sn").splitlines()


def weights(cluster: Cluster) -> set[str]:
    return {line.split()[-1] for line in servers(cluster) if line.startswith("-a")}


def vips(cluster: Cluster) -> set[str]:
    listed = cluster.node.run("ip", "-o", "address", "show", "dev", "kube-ipvs0").splitlines()
    return {line.split()[3].split("/")[0] for line in listed if "scope link" not in line}


def draining(cluster: Cluster) -> int:
    listed = [cluster.node.run("nft", "list", "set", word, "kproxy-ipvs", "ipvs-draining") for word in ("ip", "ip6")]
    return sum(text.count(". tcp .") for text in listed)


def answered(held: list[Held]) -> list[Outcome]:
    return [one.ask().outcome for one in held]


def started(cluster: Cluster, mode: str = "ipvs", pods: str = PODS) -> Agent:
    agent = cluster.agent(f"--proxy-mode={mode}", *filter(None, [pods]), *FLAGS)
    agent.start()
    agent.wait_ready(60)
    return agent


def test_connections_outlive_their_service(cluster: Cluster, hold: Hold) -> None:
    agent = started(cluster)
    held = hold("tcp", ways(cluster))
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

    close(held)
    nothing: tuple[list[str], set[str], int] = ([], set(), 0)
    eventually(lambda: (servers(cluster), vips(cluster), draining(cluster)) == nothing, "nothing is left", GONE_S)
    agent.stop()


def test_a_service_that_returns_is_served_at_once(cluster: Cluster, hold: Hold) -> None:
    agent = started(cluster)
    held = hold("tcp", ways(cluster))
    cluster.manifests.remove("web")
    eventually(lambda: weights(cluster) == {"0"}, "all destinations drain", 30)
    cluster.manifests.write("web", web(cluster, "b1", "a2"))
    good = [Outcome.ANSWERED] * len(held)
    eventually(lambda: outcomes(cluster) == good, "the Service is back", 30)
    assert answered(held) == good
    assert (weights(cluster), draining(cluster)) == ({"1"}, 0)
    close(held)
    agent.stop()


def remains(cluster: Cluster) -> list[str]:
    """What there is of IPVS mode."""
    found = [line for line in servers(cluster) if line.startswith("-A")]
    found += [line for line in cluster.node.run("nft", "list", "tables").splitlines() if "ipvs" in line]
    return found + ["kube-ipvs0"] * ("kube-ipvs0" in cluster.node.run("ip", "link", "show"))


def behind_vips(cluster: Cluster) -> list[Outcome]:
    """What becomes of connections to the other ports of the VIPs."""
    probes = [Probe(source, ip, HOST_PORT) for source in ("a1", "node-a") for ip in CLUSTER_IPS.values()]
    return [answer.outcome for report in cluster.probe_all(probes) for answer in report.answers]


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_connections_outlive_the_mode(cluster: Cluster, hold: Hold, mode: str) -> None:
    cluster.listen("node-a", [HOST_PORT], ["tcp"])
    cluster.manifests.write("dns", dns(cluster, "b1"))
    agent = started(cluster)
    held = hold("tcp", ways(cluster))
    flows = hold("udp", [("a1", ip, 53) for ip in UDP_IPS.values()])
    good, refused = [Outcome.ANSWERED] * len(held), [Outcome.REFUSED] * len(held)
    assert [one.opened.outcome for one in held + flows] == [*good, *good[: len(flows)]]
    assert behind_vips(cluster) == refused[:4]

    agent.stop()
    agent = started(cluster, mode)
    eventually(lambda: weights(cluster) == {"0"}, "it lets go", 30)
    assert (answered(held), outcomes(cluster)) == (good, good)
    eventually(lambda: answered(flows) == good[: len(flows)], "UDP goes on by the new rules", 30)
    assert behind_vips(cluster) == refused[:4]
    assert (vips(cluster), draining(cluster)) == (set(CLUSTER_IPS.values()), 4)

    agent.stop()
    agent = started(cluster, mode, pods="")
    assert (answered(held), outcomes(cluster)) == (good, good)
    assert not sources_seen(cluster) & set(CLUSTER_IPS.values()), "elsewhere, a VIP is another node's"
    cluster.manifests.remove("web")
    eventually(lambda: outcomes(cluster) == refused, "the Service is gone", 30)
    assert answered(held) == good

    close(held)
    eventually(lambda: remains(cluster) == [], "nothing is left", GONE_S)
    agent.stop()


def test_ipvs_mode_takes_back_what_was_let_go_of(cluster: Cluster, hold: Hold) -> None:
    agent = started(cluster)
    held = hold("tcp", ways(cluster))
    good = [Outcome.ANSWERED] * len(held)
    agent.stop()
    agent = started(cluster, "nftables")
    eventually(lambda: weights(cluster) == {"0"}, "it lets go", 30)
    agent.stop()
    agent = started(cluster)
    assert (weights(cluster), draining(cluster)) == ({"1"}, 0)
    assert (answered(held), outcomes(cluster)) == (good, good)
    agent.stop()
    cluster.manifests.remove("web")
    agent = started(cluster, "nftables")
    eventually(lambda: weights(cluster) == {"0"}, "it lets go", 30)
    agent.stop()
    cluster.node.run(sys.executable, "-m", "kproxy", "cleanup")
    assert remains(cluster) == []
