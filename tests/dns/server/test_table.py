"""The tables of questions and of odd messages, asked of a running server by UDP and TCP, IPv4 and IPv6."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.name
import dns.query
import pytest

from tests.dns.cluster import manifest
from tests.dns.fixtures import CLUSTERS
from tests.dns.server.running import ADDRESS, ADDRESS6, WORLD, Node, dns_node
from tests.dns.server.world import World
from tests.dns.table import Row, check, rows
from tests.dns.wire_rows import (
    WEB,
    WIRE_CLUSTER,
    WireRow,
    fuzz_seeds,
    mutated,
    over_each_transport,
    query,
)
from tests.lab import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

FLAGS = {
    "namespaces": "--dns-namespaces",
    "reverse": "--dns-reverse",
    "fallthrough": "--dns-fallthrough",
    "pods": "--dns-pods",
    "ignore_empty_service": "--dns-ignore-empty-service",
    "no_endpoints": "--dns-no-endpoints",
    "endpoint_pod_names": "--dns-endpoint-pod-names",
    "zonal": "--dns-zonal",
}
TARGET = dns.name.from_text("target.example.")
TRANSPORTS = [(tcp, to) for tcp in (False, True) for to in (ADDRESS, ADDRESS6)]


class Servers:
    """One server for each cluster, started when its first row comes; they share the node's addresses in turn."""

    def __init__(self, node: Node, world: World) -> None:
        self._node, self._world = node, world
        self._running = ""
        self._stack = ExitStack()

    def serve(self, cluster: str) -> Node:
        if cluster != self._running:
            self._stack.close()
            options, changes = CLUSTERS[cluster]
            self._node.manifests.clear()
            self._node.manifests.write("cluster", [manifest(change) for change in changes])
            self._node.manifests.write("wire", [manifest(change) for change in WIRE_CLUSTER])
            self._stack.enter_context(self._node.server(*_arguments(options), upstream=self._world))
            self._running = cluster
        return self._node

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with dns_node() as node, World(node.namespace, WORLD) as world:
        node.namespace.run("ip", "address", "add", "10.244.9.9/32", "dev", "lo")
        found = Servers(node, world)
        try:
            yield found
        finally:
            found.close()


def _arguments(options: dict[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        if name == "addresses":
            words += ["--dns-bind-address", ",".join(f"{address}:53" for address in value)]
        else:
            words.append(f"{FLAGS[name]}={','.join(value) if isinstance(value, tuple) else str(value).lower()}")
    return words


ROWS = sorted(rows(), key=lambda row: row.cluster)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(servers: Servers, row: Row) -> None:
    node = servers.serve(row.cluster)
    if row.rcode == "forward":
        # The world outside knows the name of whoever asks.
        assert not node.ask(row.name, row.qtype).flags & dns.flags.AA
        return
    own = CLUSTERS[row.cluster][0].get("addresses")
    for tcp, to in TRANSPORTS if own is None else [(False, own[0]), (True, own[0])]:
        asked = dns.message.make_query(row.name, row.qtype, use_edns=0, payload=1232)
        ask = dns.query.tcp if tcp else dns.query.udp
        reply = node.namespace.call(lambda: ask(asked, to, timeout=scaled(10)))  # noqa: B023
        for rrset in reply.answer:
            if rrset.name == TARGET:
                rrset.ttl = 5  # what is from outside is as old as the cache has it
        check(row, reply, serial=_serial(reply))


def _serial(reply: dns.message.Message) -> int:
    """The serial of the reply's SOA, which is the time."""
    soas = [rrset[0] for section in reply.sections[1:] for rrset in section if rrset.rdtype == dns.rdatatype.SOA]
    return soas[0].serial if soas else 0


@pytest.mark.parametrize(("row", "tcp"), over_each_transport(), ids=str)
@pytest.mark.parametrize("to", [ADDRESS, ADDRESS6])
def test_wire_row(servers: Servers, row: WireRow, tcp: bool, to: str) -> None:
    """Rows R1 to R19, R26 and R28; the reply comes from where it was asked (R27): the sockets are connected."""
    node = servers.serve("all")
    reply = _over_tcp(node, to, row.message) if tcp else _over_udp(node, to, row.message)
    row.check(reply)


def _over_udp(node: Node, to: str, message: bytes) -> bytes | None:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with node.namespace.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(scaled(5))
        sock.connect((to, 53))
        sock.send(message)
        sock.send(query(WEB, "LOC"))
        first = sock.recv(65535)
        if _is_last(first):
            return None
        assert _is_last(sock.recv(65535))
        return first


def _over_tcp(node: Node, to: str, message: bytes) -> bytes | None:
    with node.connect(to) as sock:
        sock.sendall(len(message).to_bytes(2) + message)
        length = int.from_bytes(_exactly(sock, 2))
        return _exactly(sock, length)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, "the server closed the connection"
        data += part
    return data


LAST = query(WEB, "LOC")[12:]


def _is_last(reply: bytes) -> bool:
    """Whether it answers the query that was sent behind the one in question."""
    return reply[12 : 12 + len(LAST)] == LAST


def test_20_the_question_comes_back_as_it_was_spelt(servers: Servers) -> None:
    node, chance = servers.serve("all"), random.Random(20)
    with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((ADDRESS, 53))
        sock.settimeout(scaled(5))
        for _ in range(1000):
            message = query("".join(chance.choice((letter.lower(), letter.upper())) for letter in WEB))
            sock.send(message)
            assert sock.recv(1232)[12 : len(message)] == message[12:]


def test_25_ten_thousand_mutated_datagrams(servers: Servers) -> None:
    node = servers.serve("all")
    limit, answered = 1232, 0
    with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((ADDRESS, 53))
        sock.settimeout(scaled(5))
        for message in mutated(fuzz_seeds(), 10_000, seed=27):
            sock.send(message)
            sock.send(query(WEB, "LOC"))
            while not _is_last(reply := sock.recv(65535)):
                answered += 1
                assert len(reply) <= limit
                dns.message.from_wire(reply)
    assert answered > 5000
    assert node.ips("web.shop.svc.cluster.local") == ["10.96.0.1"]
