"""The node's own DNS addresses: made, untracked, and left to the cluster's DNS when that is better."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.dns.server.load import Load
from tests.dns.server.running import DnsProcess, headless
from tests.dns.server.world import World
from tests.lab import Agent, Cluster
from tests.lab.agent import eventually
from tests.lab.manifests import Endpoint, Port, endpoint_slice, service

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

LOCAL, LOCAL6 = "169.254.20.10", "fd00:20::10"
CLUSTER_DNS = "10.96.0.53"
DB = "db.shop.svc.cluster.local"
ELSEWHERE = "www.example"
PORTS = [Port("dns", "udp", 53, 53), Port("dns-tcp", "tcp", 53, 53)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    """The cluster's DNS: a Pod on the node. It says 192.0.2.80 of every name, also of the cluster's."""
    with World(cluster.namespaces["a1"], cluster.address("a1", "ipv4")) as world:
        yield world


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def proxy(request: pytest.FixtureRequest, cluster: Cluster, world: World) -> Iterator[Agent]:
    """The Service of the cluster's DNS, with its ordinary rules."""
    cluster.manifests.write("db", headless("db", "10.244.9.1"))
    endpoints = [Endpoint(world.address, node="node-a")]
    dns_service = [service("kube-dns", PORTS, [CLUSTER_DNS]), endpoint_slice("kube-dns", "ipv4", PORTS, endpoints)]
    cluster.manifests.write("dns", dns_service)
    flags = ("--cluster-cidr", "10.244.0.0/16", "--proxy-mode", request.param, "--iptables-sync-period", "1s")
    with cluster.agent(*LEAVE_CONNTRACK, *flags) as agent:
        agent.wait_ready()
        yield agent


def server(cluster: Cluster, *arguments: str, metrics_port: int = 9153) -> DnsProcess:
    source = ["--manifests", str(cluster.manifests.path), "--dns-upstream", cluster.address("a1", "ipv4")]
    http = ["--dns-metrics-bind-address", f"127.0.0.1:{metrics_port}"]
    return DnsProcess(cluster.node, [*source, *arguments, *http], metrics_port)


def ask(cluster: Cluster, name: str, to: str, *, source: str = "a2", tcp: bool = False) -> str:
    """The first address of a name as a Pod sees it; "silence" without an answer."""
    query = dns.message.make_query(name, "A")
    send = dns.query.tcp if tcp else dns.query.udp
    try:
        reply = cluster.namespaces[source].call(lambda: send(query, to, timeout=0.5))
    except (OSError, EOFError, dns.exception.DNSException):
        return "silence"
    return reply.answer[0][0].to_text() if reply.answer else dns.rcode.to_text(reply.rcode())


def served(cluster: Cluster) -> set[str]:
    """The addresses in the kernel's set."""
    listed = cluster.node.run("nft", "-j", "list", "set", "ip", "kproxy-dns", "served", check=False)
    if not listed:
        return set()
    (found,) = [entry["set"] for entry in json.loads(listed)["nftables"] if "set" in entry]
    return {entry["elem"]["val"]["concat"][0] for entry in found.get("elem", ())}


def flows(cluster: Cluster, address: str) -> list[str]:
    """What connection tracking knows of queries to an address, but for those by which the server sees to itself."""
    lines = cluster.node.run("conntrack", "-L", "-d", address).splitlines()
    return [line for line in lines if "dport=53" in line and f"src={address} dst={address}" not in line]


def test_a_node_local_address_is_answered_untracked_and_goes_with_the_process(cluster: Cluster, proxy: Agent) -> None:
    with server(cluster, "--dns-node-local", f"{LOCAL},{LOCAL6}"):
        eventually(lambda: served(cluster) == {LOCAL}, "queries are led here")
        cluster.node.run("conntrack", "-F")  # earlier tests ask when queries are not led here
        for to in (LOCAL, LOCAL6):
            for tcp in (False, True):
                assert ask(cluster, DB, to, tcp=tcp) == "10.244.9.1"
                assert ask(cluster, DB, to, tcp=tcp, source="node-a") == "10.244.9.1"
        assert flows(cluster, LOCAL) == []
    assert LOCAL not in cluster.node.run("ip", "address")
    assert LOCAL6 not in cluster.node.run("ip", "address")
    assert "kproxy-dns" not in cluster.node.run("nft", "list", "tables")
    assert "kproxy-dns" not in cluster.node.run("ip", "link")


def test_the_services_own_address_is_answered_here_and_by_the_cluster_otherwise(cluster: Cluster, proxy: Agent) -> None:
    assert ask(cluster, DB, CLUSTER_DNS) == "192.0.2.80", "the cluster's DNS answers"
    with server(cluster, "--dns-node-local", LOCAL, "--dns-intercept", CLUSTER_DNS) as running:
        eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "10.244.9.1", "it is answered here")
        assert ask(cluster, DB, CLUSTER_DNS, tcp=True) == "10.244.9.1"
        assert ask(cluster, ELSEWHERE, CLUSTER_DNS) == "192.0.2.80"
        (worker,) = running.workers()
        os.kill(worker, signal.SIGSTOP)  # it hangs
        eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "192.0.2.80", "the cluster's DNS answers again")
        assert running.metric("kproxy_dns_node_local_serving") == 0
        os.kill(worker, signal.SIGCONT)
        eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "10.244.9.1", "it is answered here again")
    eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "192.0.2.80", "the cluster's DNS answers again")
    assert CLUSTER_DNS not in cluster.node.run("ip", "address")


def test_nothing_is_lost_when_all_of_it_is_killed_at_once(cluster: Cluster, proxy: Agent) -> None:
    """Nobody is left to clear up: the kernel forgets by itself, and what comes later finds its leftovers in order."""
    running = server(cluster, "--dns-intercept", CLUSTER_DNS)
    running.start()
    eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "10.244.9.1", "it is answered here")
    workers = running.workers()
    running.kill()
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):  # it ends when the service does
            os.kill(worker, signal.SIGKILL)
    eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "192.0.2.80", "the cluster's DNS answers")
    with server(cluster, "--dns-intercept", CLUSTER_DNS):
        eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "10.244.9.1", "it is answered here again")
    cluster.node.run(sys.executable, "-m", "kproxy", "cleanup")  # the proxy notices, and writes its rules again
    assert "kproxy-dns" not in cluster.node.run("nft", "list", "tables")


def test_from_one_process_to_the_next_the_address_stays_and_no_query_is_lost(cluster: Cluster, proxy: Agent) -> None:
    first = server(cluster, "--dns-intercept", CLUSTER_DNS)
    with first:
        eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "10.244.9.1", "it is answered here")
        load = Load(cluster.namespaces["a2"], CLUSTER_DNS, DB)
        with load:
            load.goes_on()
            second = server(cluster, "--dns-intercept", CLUSTER_DNS, metrics_port=9154)
            second.start()
            second.wait_ready()
            assert first.stop() == 0
            load.goes_on()
    assert (load.lost, set(load.answered)) == ([], {0})
    for _ in range(50):
        assert ask(cluster, DB, CLUSTER_DNS) == "10.244.9.1"
    second.stop()
    eventually(lambda: ask(cluster, DB, CLUSTER_DNS) == "192.0.2.80", "the cluster's DNS answers again", 30)
    assert CLUSTER_DNS not in cluster.node.run("ip", "address")


def test_a_next_process_that_ends_before_it_answers_leaves_all_as_it_is(cluster: Cluster, proxy: Agent) -> None:
    with server(cluster, "--dns-node-local", LOCAL):
        eventually(lambda: served(cluster) == {LOCAL}, "queries are led here")
        source = ["--master", "http://127.0.0.1:9", "--dns-upstream", "192.0.2.9"]
        http = ["--dns-metrics-bind-address", "127.0.0.1:9154"]
        following = DnsProcess(cluster.node, [*source, "--dns-node-local", LOCAL, *http], 9154)
        following.start()
        eventually(lambda: "somebody listens there now" in following.said(), "it waits for its turn")
        assert following.stop() == 0
        assert ask(cluster, DB, LOCAL) == "10.244.9.1"
        assert served(cluster) == {LOCAL}


def test_what_others_take_away_is_put_back(cluster: Cluster, proxy: Agent) -> None:
    with server(cluster, "--dns-node-local", LOCAL) as running:
        eventually(lambda: served(cluster) == {LOCAL}, "queries are led here")
        cluster.node.run("nft", "delete", "table", "ip", "kproxy-dns")
        eventually(lambda: served(cluster) == {LOCAL}, "the table is there again")
        link = json.loads(cluster.node.run("ip", "-j", "address", "show", "to", LOCAL))[0]["ifname"]
        cluster.node.run("ip", "address", "delete", f"{LOCAL}/32", "dev", link)
        eventually(lambda: ask(cluster, DB, LOCAL) == "10.244.9.1", "the address is there again")
        assert f"somebody took {LOCAL} away: made again" in running.said()
        eventually(lambda: served(cluster) == {LOCAL}, "queries are led here")


def test_the_next_process_may_have_fewer_addresses(cluster: Cluster, proxy: Agent) -> None:
    first = server(cluster, "--dns-node-local", LOCAL, "--dns-intercept", CLUSTER_DNS)
    with first:
        eventually(lambda: served(cluster) == {LOCAL, CLUSTER_DNS}, "queries are led here")
        second = server(cluster, "--dns-node-local", LOCAL, metrics_port=9154)
        second.start()
        second.wait_ready()
        assert first.stop() == 0
    assert ask(cluster, DB, LOCAL) == "10.244.9.1"
    assert CLUSTER_DNS not in cluster.node.run("ip", "address")
    eventually(lambda: served(cluster) == {LOCAL}, "queries are led to the next one")
    second.stop()
    assert LOCAL not in cluster.node.run("ip", "address")
