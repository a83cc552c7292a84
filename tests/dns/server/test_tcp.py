"""TCP connections of a worker over real sockets, its loop turned by hand: what one client can make it hold."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import dns.message
import pytest

from kproxy.dns.cache import OutsideCache
from kproxy.dns.exchange import Upstream
from kproxy.dns.feed import Listening
from kproxy.dns.resolver import Resolver
from kproxy.dns.responder import Responder
from kproxy.dns.server.connections import Connections
from kproxy.dns.server.loop import Loop
from kproxy.dns.server.outside import Outside
from kproxy.dns.server.tcp import TcpServer
from kproxy.dns.stream import MessageStream, framed
from kproxy.dns.tally import Tally
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from tests.dns.cluster import service, slice_
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server:
    """A listening socket on the loopback, and the loop around it."""

    def __init__(self) -> None:
        zone = Zone(ZoneConfig())
        ips = [f"10.1.{number >> 8}.{number & 255}" for number in range(5000)]
        zone.apply([service("shop/big", "None"), service("shop/web", "10.96.0.1"), slice_("shop/b", "big", *ips)])
        zone.synced = True
        self.loop = Loop()
        self.connections = Connections(self.loop)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.silent.bind(("127.0.0.1", 0))
        resolver = Resolver([Upstream(*self.silent.getsockname())], OutsideCache(), lambda: 1)
        self.tcp = TcpServer(
            self.sock,
            Responder(zone, tcp=True, recursion=True),
            Outside(self.loop, resolver),
            Tally(Listening("tcp", "dns://test"), 1),
            self.loop,
            self.connections,
        )
        self.loop.watch(self.sock.fileno(), self.tcp.readable)

    def turn(self) -> None:
        """One turn of the loop."""
        self.loop._running = True
        self.loop.after(0.001, self.loop.stop)
        self.loop.run()

    @property
    def held(self) -> int:
        """Octets that wait to be sent."""
        return sum(len(one._unsent) for one in self.connections._all)

    @property
    def waiting(self) -> int:
        """Queries that wait for somebody outside."""
        return sum(one._waiting for one in self.connections._all)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for connection in list(server.connections._all):
        connection.close()
    for sock in (server.sock, server.silent, *server.tcp.outside._sockets.values()):
        sock.close()


def queries(name: str, count: int) -> bytes:
    wire = dns.message.make_query(name, "A").to_wire()[2:]
    return b"".join(framed(number.to_bytes(2) + wire) for number in range(count))


def test_many_short_queries_with_long_replies_do_not_fill_the_memory(server: Server) -> None:
    """1,000 queries are in one segment, and their replies 64 MB: the client takes them or there are no more."""
    limit = server.connections.limits.unsent + 2 * 65535
    with socket.create_connection(server.sock.getsockname()) as client:
        client.sendall(queries("big.shop.svc.cluster.local.", 1000))
        for _ in range(50):
            server.turn()
            assert server.held <= limit
        ids: list[int] = []
        reader = threading.Thread(target=read_ids, args=(client, ids))
        client.shutdown(socket.SHUT_WR)  # it wants the answers all the same
        reader.start()
        while reader.is_alive():
            server.turn()
            assert server.held <= limit
    assert ids == list(range(1000))
    assert len(server.connections) == 0


def read_ids(client: socket.socket, ids: list[int]) -> None:
    stream = MessageStream()
    while data := client.recv(1 << 20):
        ids += [int.from_bytes(message[:2]) for message in stream.feed(data)]


def test_no_more_than_so_many_are_under_way_and_the_rest_follows(server: Server) -> None:
    limit = server.connections.limits.waiting + 1
    with socket.create_connection(server.sock.getsockname()) as client:
        outside = b"".join(queries(f"silent{number}.example.", 1) for number in range(2 * limit))
        client.sendall(outside + queries("web.shop.svc.cluster.local.", 1))
        for _ in range(50):
            server.turn()
            assert server.waiting <= limit
        assert server.waiting == limit
        server.tcp.outside.resolver.tick(float("inf"))  # nobody answers
        server.tcp.outside.carry_out()

        def over() -> bool:
            server.turn()
            server.tcp.outside.resolver.tick(float("inf"))
            server.tcp.outside.carry_out()
            return not server.waiting

        eventually(over, "all were answered")
        client.settimeout(5)
        stream = MessageStream()
        found: list[bytes] = []
        while len(found) < 2 * limit + 1:
            server.turn()
            found += stream.feed(client.recv(1 << 16))
        assert sorted(message[3] & 15 for message in found) == [0] + [2] * (2 * limit)
