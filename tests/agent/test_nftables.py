"""The agent in nftables mode on a node: foreign hands, take-over, restart, cleanup."""

from __future__ import annotations

import json
import re
import sys
import time
from socket import AF_INET, SOCK_DGRAM
from typing import TYPE_CHECKING

import pytest

from bench.kube_proxy_shape import restore_text
from tests.agent.one_node import FLAGS, OneNode, one_node, web
from tests.lab.agent import eventually
from tests.lab.manifests import Endpoint, Object, Port, endpoint_slice, service

if TYPE_CHECKING:
    from tests.lab import Agent

pytestmark = pytest.mark.root

NEVER = ("--iptables-sync-period", "1h")
"""So that only the kernel's own word makes the agent look."""

KUBE_PROXY_TABLE = """\
table ip kube-proxy {
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict;
    elements = { 10.96.0.10 . tcp . 80 : goto endpoint }; }
  chain endpoint { meta l4proto tcp dnat to 10.244.1.10:8080; }
  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
}
"""


def agent(node: OneNode, *arguments: str) -> Agent:
    return node.agent("--proxy-mode", "nftables", *arguments)


def listing(node: OneNode, family: str = "ip") -> str:
    return node.namespace.run("nft", "-s", "list", "table", family, "kproxy")


def written(running: Agent) -> list[str]:
    """The lines in which it says that it wrote something."""
    log = running.log.read_text(encoding="utf-8")
    return [line for line in log.splitlines() if " sync in " in line and "wrote nothing, deleted 0" not in line]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("flush ruleset", r"IPv4: our rules were changed, restoring them: nft \(pid \d+\) deleted the table"),
        ("delete table ip kproxy", "deleted the table"),
        ("flush table ip kproxy", r"nft \(pid \d+\) deleted \d+ rules of chain"),
        ("flush chain ip kproxy services", r"deleted \d+ rules of chain services"),
        ("insert rule ip kproxy services drop", "added 1 rules of chain services"),
        ("flush map ip kproxy service-ips", r"deleted 1 elements of service-ips \(10.96.0.10 . tcp . 80\)"),
        ("add element ip kproxy cluster-ips { 192.0.2.1 }", r"added 1 elements of cluster-ips \(192.0.2.1\)"),
        (
            "delete element ip kproxy endpoints { 10.96.0.10 . tcp . 80 . 0 }",
            r"deleted 1 elements of endpoints \(10.96.0.10 . tcp . 80 . 0\)",
        ),
        ("add chain ip kproxy mine", "added chain mine"),
    ],
)
def test_what_others_change_is_put_right_at_once_and_told(command: str, told: str) -> None:
    with one_node() as node:
        node.manifests.write("web", web())
        with agent(node, *NEVER) as running:
            running.wait_ready()
            before = {family: listing(node, family) for family in ("ip", "ip6")}
            node.namespace.run("nft", command)
            eventually(lambda: restored(node, before), f"all is as before `{command}`", timeout_s=1.0)
            eventually(lambda: bool(re.search(told, running.log.read_text(encoding="utf-8"))), f"{told} is told")
            assert (running.metric("kproxy_foreign_changes_total", ip_family="IPv4") or 0) >= 1
        assert "Traceback" not in running.log.read_text(encoding="utf-8")


def restored(node: OneNode, before: dict[str, str]) -> bool:
    try:
        return all(listing(node, family) == text for family, text in before.items())
    except RuntimeError:  # the table is not there
        return False


def test_an_endpoint_that_was_edited_is_put_right() -> None:
    """Delete and add in one transaction: the element is there all the time, with another address."""
    edit = (
        "delete element ip kproxy endpoints { 10.96.0.10 . tcp . 80 . 0 : 10.244.1.10 . 8080 }\n"
        "add element ip kproxy endpoints { 10.96.0.10 . tcp . 80 . 0 : 192.0.2.9 . 8080 }\n"
    )
    with one_node() as node:
        node.manifests.write("web", web())
        with agent(node, *NEVER) as running:
            running.wait_ready()
            before = listing(node)
            node.namespace.run("nft", "-f", "-", stdin=edit)
            eventually(lambda: listing(node) == before, "the endpoint is back", timeout_s=1.0)


def test_our_own_changes_and_other_tables_are_no_foreign_changes() -> None:
    with one_node() as node:
        node.manifests.write("web", web())
        with agent(node, *NEVER) as running:
            running.wait_ready()
            node.namespace.run("nft", "add table ip other")
            node.manifests.write("web", web(endpoints=("10.244.1.11", "10.244.1.12")))
            eventually(lambda: "10.244.1.12 . 8080" in listing(node), "the new endpoints")
            node.manifests.remove("web")
            eventually(lambda: "10.244.1.12 . 8080" not in listing(node), "the Service is gone")
            assert running.metric("kproxy_foreign_changes_total", ip_family="IPv4") == 0
        assert "rules were changed" not in running.log.read_text(encoding="utf-8")


def test_a_fight_with_another_program_is_no_flood() -> None:
    """Somebody who undoes our rules all the time is answered twice a second, not a thousand times."""
    with one_node() as node:
        node.manifests.write("web", web())
        with agent(node, *NEVER) as running:
            running.wait_ready()
            began = time.monotonic()
            for number in range(100):
                node.namespace.run("nft", f"add element ip kproxy cluster-ips {{ 192.0.2.{number} }}")
            eventually(lambda: "192.0.2." not in listing(node), "all is as before", timeout_s=2.0)
            told = running.log.read_text(encoding="utf-8").count("our rules were changed")
            # How long a hundred calls of nft take is the machine's affair.
            assert 1 <= told <= 1 + 2 * (time.monotonic() - began)
            assert running.metric("kproxy_foreign_changes_total", ip_family="IPv4") == 100


def test_a_restart_changes_nothing() -> None:
    """Handles are the kernel's numbers of what it holds: a rule or element that is written anew gets another."""
    with one_node() as node:
        node.manifests.write("web", web())
        node.manifests.write("two", web("two", "10.96.0.20", ("10.244.1.20", "10.244.1.21")))
        with agent(node) as first:
            first.wait_ready()
        before = node.namespace.run("nft", "-a", "list", "ruleset")
        with agent(node) as second:
            second.wait_ready()
            assert node.namespace.run("nft", "-a", "list", "ruleset") == before
            assert written(second) == []


def test_a_table_of_another_layout_is_replaced() -> None:
    foreign = 'table ip kproxy { comment "kproxy, layout 0"; set old { type mark; }; chain old { counter; }; }'
    with one_node() as node:
        node.namespace.run("nft", "-f", "-", stdin=foreign)
        node.manifests.write("web", web())
        with agent(node) as running:
            running.wait_ready()
            assert "old" not in listing(node)
            assert "10.96.0.10 . tcp . 80" in listing(node)


def test_kube_proxy_is_taken_over_from_once_our_rules_are_there() -> None:
    """Its table and its chains go only after our first sync; until then they serve."""
    with one_node() as node:
        node.namespace.run("nft", "-f", "-", stdin=KUBE_PROXY_TABLE)
        node.namespace.run("iptables-nft-restore", "--noflush", stdin=restore_text(3))
        node.manifests.write("web", web())
        with agent(node) as running:
            running.wait_ready()
            eventually(lambda: "KUBE-" not in node.saved("nft", "nat"), "the chains are gone")
            assert "table ip kube-proxy" not in node.namespace.run("nft", "list", "tables")
            log = running.log.read_text(encoding="utf-8")
        assert "took over from another proxy: removed table ip kube-proxy" in log
        assert log.index("full sync") < log.index("took over")


def test_the_iptables_mode_takes_over_from_the_nftables_mode_and_back() -> None:
    with one_node() as node:
        node.manifests.write("web", web())
        with agent(node) as running:
            running.wait_ready()
        with node.agent("--iptables-variant", "nft") as running:
            running.wait_ready()
            eventually(lambda: " kproxy" not in node.namespace.run("nft", "list", "tables"), "our tables are gone")
            assert "10.96.0.10" in node.saved("nft", "nat")
        with agent(node) as running:
            running.wait_ready()
            eventually(lambda: "KUBE-" not in node.saved("nft", "nat"), "the chains are gone")
            assert "10.96.0.10 . tcp . 80" in listing(node)


def test_cleanup_removes_both_tables_and_nothing_else() -> None:
    with one_node() as node:
        node.namespace.run("nft", "add table ip foreign")
        node.manifests.write("web", web())
        with agent(node) as running:
            running.wait_ready()
        told = node.namespace.run(sys.executable, "-m", "kproxy", "cleanup")
        assert "table ip kproxy removed" in told
        assert "table ip6 kproxy removed" in told
        tables = json.loads(node.namespace.run("nft", "-j", "list", "tables"))["nftables"]
        assert "foreign" in {entry["table"]["name"] for entry in tables if "table" in entry}
        assert "kproxy" not in {entry["table"]["name"] for entry in tables if "table" in entry}


def test_without_permission() -> None:
    """One line that names the capability; nothing is touched."""
    with one_node() as node:
        argv = ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-m", "kproxy", "run"]
        flags = ("--manifests", "/tmp", "--proxy-mode", "nftables", *FLAGS)
        with pytest.raises(RuntimeError, match="CAP_NET_ADMIN") as caught:
            node.namespace.run(*argv, *flags)
        assert "Traceback" not in str(caught.value)
        assert node.namespace.run("nft", "list", "ruleset") == ""


def test_an_ordinary_service_port_of_sctp_is_served() -> None:
    """This kernel tracks SCTP, so the probe must not leave it out."""
    with one_node() as node:
        port = Port("diameter", "sctp", 3868, 3868)
        made = service("sctp", [port], ["10.96.0.30"])
        node.manifests.write("sctp", [made])
        with agent(node) as running:
            running.wait_ready()
            assert "10.96.0.30 . sctp . 3868" in listing(node)


def send(node: OneNode, address: str, port: int, times: int) -> None:
    """So many datagrams, each from another port: new connections."""
    for _ in range(times):
        with node.namespace.socket(AF_INET, SOCK_DGRAM) as sock:
            sock.sendto(b"", (address, port))


def test_connections_are_counted_by_service_port_and_endpoint() -> None:
    port = Port("dns", "udp", 53, 5353)
    with one_node() as node:
        node.namespace.run("ip", "route", "add", "10.0.0.0/8", "dev", "lo")
        node.manifests.write("dns", udp_service(port, ("10.244.1.10", "10.244.1.11")))
        with agent(node, "--connection-counters", "endpoints") as running:
            running.wait_ready()
            send(node, "10.96.0.53", 53, 30)
            labels = {"namespace": "lab", "service": "dns", "port_name": "dns"}
            assert running.metric("kproxy_service_connections_total", **labels) == 30
            each = [endpoint_connections(running, labels, f"10.244.1.{last}:5353") for last in (10, 11)]
            assert sum(each) == 30
            assert all(each)
            # An endpoint that stays keeps its count when the other one leaves.
            node.manifests.write("dns", udp_service(port, ("10.244.1.11",)))
            eventually(lambda: "10.244.1.10" not in listing(node), "the endpoint is gone")
            send(node, "10.96.0.53", 53, 5)
            assert endpoint_connections(running, labels, "10.244.1.11:5353") == each[1] + 5
            assert running.metric("kproxy_endpoint_connections_total", endpoint="10.244.1.10:5353") is None
            assert running.metric("kproxy_service_connections_total", **labels) == 35
            # The table of a run without counters is another one.
        with agent(node) as running:
            running.wait_ready()
            assert "counter" not in listing(node)
            assert running.metric("kproxy_service_connections_total", **labels) is None


def endpoint_connections(running: Agent, labels: dict[str, str], endpoint: str) -> float:
    return running.metric("kproxy_endpoint_connections_total", **labels, endpoint=endpoint) or 0


def udp_service(port: Port, endpoints: tuple[str, ...]) -> list[Object]:
    ready = [Endpoint(ip, node="node-b") for ip in endpoints]
    return [service("dns", [port], ["10.96.0.53"]), endpoint_slice("dns", "ipv4", [port], ready)]
