"""The table's rows about what CoreDNS offers and kproxy does not (docs/differences.md): what it says instead."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from tests.dns.cluster import manifest
from tests.dns.fixtures import CLUSTERS
from tests.dns.server.running import ADDRESS, WORLD, Node, dns_node
from tests.dns.server.world import World
from tests.lab import scaled
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

ZONE = "cluster.local"
OTHER = "example.cluster"
FIRST_SUFFIX = f"shop.svc.{ZONE}"


@pytest.fixture
def node() -> Iterator[Node]:
    with dns_node() as node, World(node.namespace, WORLD):
        node.manifests.write("cluster", [manifest(change) for change in CLUSTERS["all"][1]])
        yield node


def test_130_to_132_clients_go_through_their_search_lists_themselves(node: Node) -> None:
    """There is no autopath: each name is answered as it is, and never by another name's records."""
    with node.server(upstream=WORLD):
        assert node.ips(f"web.{FIRST_SUFFIX}") == ["10.96.0.1"]
        for asked, found in (
            (f"web.shop.{FIRST_SUFFIX}", f"web.shop.svc.{ZONE}"),
            (f"www.example.{FIRST_SUFFIX}", "www.example"),
        ):
            reply = node.ask(asked)
            assert (dns.rcode.to_text(reply.rcode()), reply.answer) == ("NXDOMAIN", [])
            assert node.ips(found)


def test_133_another_zone_takes_another_process(node: Node) -> None:
    """It takes over while the old one answers."""
    with node.server(upstream=WORLD):
        assert node.ips(f"web.shop.svc.{ZONE}") == ["10.96.0.1"]
        new = node.server("--cluster-domain", OTHER, upstream=WORLD)
        new.start()
        eventually(lambda: "answering on" in new.said(), "the new one answers")
    assert node.ips(f"web.shop.svc.{OTHER}") == ["10.96.0.1"]
    new.stop()


def test_140_who_may_ask_is_the_firewall_s_to_say(node: Node) -> None:
    """Every client that gets here is answered, from the cache too."""
    with node.server(upstream=WORLD):
        query = dns.message.make_query("www.example", "A").to_wire()
        replies = [_exchange(node, query, source=source) for source in ("127.0.0.8", "127.0.0.9")]
        assert [dns.message.from_wire(reply).rcode() for reply in replies] == [dns.rcode.NOERROR] * 2


def _exchange(node: Node, message: bytes, *, source: str) -> bytes:
    with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(scaled(5))
        sock.bind((source, 0))
        sock.connect((ADDRESS, 53))
        sock.send(message)
        return sock.recv(4096)
