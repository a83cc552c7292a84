"""The agent's life on a node: first sync, changes, someone else's hand, take-over, restart, cleanup."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from socket import AF_INET, SOCK_STREAM
from typing import TYPE_CHECKING

import pytest

from bench.kube_proxy_shape import restore_text
from kproxy.dataplane.iptables.binaries import VARIANTS
from kproxy.plan.iptables.names import port_hash
from kproxy.state.addresses import FAMILIES
from kproxy.state.service import ServicePortName
from tests.agent.one_node import OneNode, one_node, web
from tests.lab.agent import eventually
from tests.lab.manifests import Port, service

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

WEB_CHAIN = "KUBE-SVC-" + port_hash(ServicePortName("lab", "web", "http", "TCP"))


@contextmanager
def listening(node: OneNode, address: str, port: int) -> Iterator[None]:
    with node.namespace.socket(AF_INET, SOCK_STREAM) as server:
        server.bind((address, port))
        server.listen()
        yield


FOREIGN = (
    "*nat\n:MINE - [0:0]\n-A PREROUTING -j MINE\n-A MINE -d 192.0.2.1 -m comment --comment mine -j ACCEPT\nCOMMIT\n"
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_changes_reach_the_kernel_and_nothing_else_is_touched(variant: str) -> None:
    with one_node() as node:
        node.namespace.run(f"iptables-{variant}-restore", "--noflush", stdin=FOREIGN)
        node.manifests.write("web", web())
        with node.agent("--iptables-variant", variant) as agent:
            agent.wait_ready()
            assert "--to-destination 10.244.1.10:8080" in node.saved(variant, "nat")
            node.manifests.write("web", web(endpoints=("10.244.1.11", "10.244.1.12")))
            eventually(lambda: "--to-destination 10.244.1.12:8080" in node.saved(variant, "nat"), "the new endpoints")
            assert "10.244.1.10" not in node.saved(variant, "nat")
            node.manifests.remove("web")
            eventually(lambda: WEB_CHAIN not in node.saved(variant, "nat"), "the Service is gone")
        assert "-A MINE -d 192.0.2.1/32 -m comment --comment mine -j ACCEPT" in node.saved(variant, "nat")
        other = "legacy" if variant == "nft" else "nft"
        assert "KUBE-" not in node.saved(other, "nat")


@pytest.mark.parametrize("variant", VARIANTS)
def test_connections_to_node_ports_on_localhost_are_counted(variant: str) -> None:
    """Every connection once, in kube-proxy's metric; others are not."""
    counter = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"
    node_port = Port("http", "tcp", 80, 8080, node_port=30080)
    with one_node() as node:
        node.manifests.write("web", [service("web", [node_port], ["10.96.0.10"], kind="NodePort"), *web()[1:]])
        # The node itself answers for the Pod.
        node.namespace.run("ip", "address", "add", "10.244.1.10/32", "dev", "lo")
        with node.agent("--iptables-variant", variant) as agent, listening(node, "10.244.1.10", 8080):
            agent.wait_ready()
            assert agent.metric(counter) == 0
            for address in ("127.0.0.1", "127.0.0.1", "10.244.1.10"):
                port = 8080 if address.startswith("10.") else node_port.node_port
                with node.namespace.socket(AF_INET, SOCK_STREAM) as client:
                    client.connect((address, port))
            assert agent.metric(counter) == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_node_is_taken_over_from_kube_proxy(variant: str) -> None:
    with one_node() as node:
        node.namespace.run(f"iptables-{variant}-restore", "--noflush", stdin=restore_text(20))
        assert "KUBE-SEP-" in node.saved(variant, "nat")
        node.manifests.write("web", web())
        with node.agent("--iptables-variant", variant) as agent:
            agent.wait_ready()
        nat = node.saved(variant, "nat")
        assert "KUBE-SEP-" not in nat
        assert {line.split()[0][1:] for line in nat.splitlines() if line.startswith(":KUBE-SVC-")} == {
            WEB_CHAIN,
            "KUBE-SVC-HAIRPIN",
        }


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_restart_adds_nothing_twice(variant: str) -> None:
    with one_node() as node:
        node.manifests.write("web", web())
        agent = node.agent("--iptables-variant", variant)
        agent.start()
        agent.wait_ready()
        before = [rules(node.saved(variant, table)) for table in ("nat", "filter", "mangle")]
        agent.kill()
        agent.start()
        agent.wait_ready()
        assert [rules(node.saved(variant, table)) for table in ("nat", "filter", "mangle")] == before
        agent.stop()
        assert [rules(node.saved(variant, table)) for table in ("nat", "filter", "mangle")] == before, "the rules stay"


@pytest.mark.parametrize("table", ["nat", "filter", "mangle"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_flushed_table_is_written_again(variant: str, table: str) -> None:
    with one_node() as node:
        node.manifests.write("web", web())
        with node.agent("--iptables-variant", variant) as agent:
            agent.wait_ready()
            before = rules(node.saved(variant, table))
            node.namespace.run(f"iptables-{variant}", "-t", table, "-F")
            node.namespace.run(f"iptables-{variant}", "-t", table, "-X")
            eventually(lambda: rules(node.saved(variant, table)) == before, f"{table} is whole again")


@pytest.mark.parametrize(("table", "chain"), [("filter", "FORWARD"), ("nat", "PREROUTING"), ("filter", "INPUT")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_jump_that_was_taken_away_comes_back(variant: str, table: str, chain: str) -> None:
    """A firewall that writes its own FORWARD chain anew takes our jumps out of it, and leaves our chains."""
    with one_node() as node:
        node.manifests.write("web", web())
        with node.agent("--iptables-variant", variant) as agent:
            agent.wait_ready()
            before = rules(node.saved(variant, table))
            node.namespace.run(f"iptables-{variant}", "-t", table, "-F", chain)
            eventually(lambda: rules(node.saved(variant, table)) == before, f"the jumps of {chain} are back")


@pytest.mark.parametrize("variant", VARIANTS)
def test_cleanup_removes_all_of_ours_and_nothing_else(variant: str) -> None:
    with one_node() as node:
        node.namespace.run(f"iptables-{variant}-restore", "--noflush", stdin=FOREIGN)
        before = rules(node.saved(variant, "nat"))
        node.manifests.write("web", web())
        with node.agent("--iptables-variant", variant, "--iptables-localhost-nodeports=false") as agent:
            agent.wait_ready()
        node.namespace.run(sys.executable, "-m", "kproxy", "cleanup")
        assert rules(node.saved(variant, "nat")) == before
        assert "KUBE-" not in node.saved(variant, "filter") + node.saved(variant, "mangle")


def test_python_iptables_reads_the_same_chains() -> None:
    pytest.importorskip("iptc", reason="NOT RUN: python-iptables is not installed (it needs gcc to build)")
    with one_node() as node:
        node.manifests.write("web", web(endpoints=("10.244.1.11", "10.244.1.12")))
        with node.agent("--iptables-variant", "legacy") as agent:
            agent.wait_ready()
            # A process each: python-iptables mixes the families up when one process reads both.
            code = (
                "import json\n"
                "from kproxy.dataplane.iptables.legacy_reader import read_chains\n"
                "print(json.dumps(read_chains({family!r}, 'nat')))"
            )
            ipv4, ipv6 = (
                json.loads(node.namespace.run(sys.executable, "-c", code.format(family=str(family))))
                for family in FAMILIES
            )
    assert ipv4[WEB_CHAIN] == ["KUBE-MARK-MASQ", "DNAT 10.244.1.11:8080", "DNAT 10.244.1.12:8080"]
    assert ipv4["KUBE-SERVICES"] == [WEB_CHAIN, "KUBE-NODEPORTS"]
    assert ipv4["PREROUTING"] == ["KUBE-SERVICES"]
    assert ipv6["KUBE-SERVICES"] == ["KUBE-NODEPORTS"]


def rules(saved: str) -> list[str]:
    """Chains and rules without comments and counters."""
    return sorted(line.split(" [")[0] for line in saved.splitlines() if line.startswith((":", "-A")))
