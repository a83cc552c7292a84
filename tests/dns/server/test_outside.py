"""Names outside the cluster: whom the server asks, and what it says when they are silent, or asked too much."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dns.edns
import dns.message
import pytest

from tests.dns.server.running import ADDRESS, WORLD, Node, dns_node, headless
from tests.dns.server.world import World
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

DB = "db.shop.svc.cluster.local"
IN_FLIGHT = 200
"""Questions that one client may have under way."""
SYSTEMD_RESOLVED = Path("/run/systemd/resolve/resolv.conf")


@pytest.fixture
def node() -> Iterator[Node]:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        yield node


def reasons(reply: dns.message.Message) -> list[int]:
    return [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def test_a_stale_answer_is_better_than_none(node: Node) -> None:
    with node.server(upstream=WORLD):
        with World(node.namespace, WORLD):
            assert node.ips("brief.example") == ["192.0.2.80"]

        def stale() -> bool:
            reply = node.ask("brief.example")
            return reasons(reply) == [3] and reply.answer[0].ttl == 30

        eventually(stale, "what was known is told, and that it is stale")
        assert node.rcode("never-asked.example") == "SERVFAIL"
        assert node.ips(DB) == ["10.244.1.1"]


def test_one_client_that_asks_too_much_is_kept_from_it_and_no_other(node: Node) -> None:
    """Nothing answers. What is beyond the bound fails at once; who asks for the cluster's names, or from elsewhere,
    does not notice."""
    with World(node.namespace, WORLD) as world, node.server(upstream=world) as server:
        with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((ADDRESS, 53))
            sock.settimeout(2)
            start = time.monotonic()
            for number in range(IN_FLIGHT + 50):
                sock.send(dns.message.make_query(f"silent.n{number}.example", "A").to_wire())
            failed = [dns.message.from_wire(sock.recv(512)).rcode() for _ in range(50)]
            assert failed == [2] * 50
            assert time.monotonic() - start < 2, "long before those that are under way"
            assert node.ips(DB) == ["10.244.1.1"]
            with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.9", 0))
                other.connect((ADDRESS, 53))
                other.settimeout(2)
                other.send(dns.message.make_query("www.example", "A").to_wire())
                assert dns.message.from_wire(other.recv(512)).rcode() == 0
        rejects = "coredns_forward_max_concurrent_rejects_total"
        eventually(lambda: server.metric(rejects) == 50, "they are counted")


@pytest.mark.skipif(SYSTEMD_RESOLVED.exists(), reason="systemd-resolved's file comes first")
def test_the_node_s_resolv_conf_is_followed(node: Node) -> None:
    """Without ourselves, who are named there so that the node's programs ask us."""
    file = node.run.directory / "resolv.conf"
    file.write_text(f"nameserver {ADDRESS}\n")
    server = node.server(upstream="")
    server.argv = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$0" /etc/resolv.conf; exec "$@"',
        str(file),
        *server.argv,
    ]
    with World(node.namespace, WORLD), server:
        assert "/etc/resolv.conf names no other server: names outside the cluster are refused" in server.said()
        assert node.rcode("www.example") == "REFUSED"
        file.write_text(f"nameserver {ADDRESS}\nnameserver {WORLD}\n")
        eventually(lambda: node.ips("www.example") == ["192.0.2.80"], "the other one is asked")
        assert f"names outside the cluster are asked of {WORLD}:53 (/etc/resolv.conf)" in server.said()
