"""The server over real sockets: what it answers, and how it behaves on TCP (RFC 7766)."""

from __future__ import annotations

import random
import socket
import time
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import pytest

from tests.dns.server.running import ADDRESS, ADDRESS6, WORLD, DnsProcess, Node, Transport, dns_node, headless
from tests.dns.server.world import SLOW_S, World
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

DB = "db.shop.svc.cluster.local"
SERVER, ZONE = f'server="dns://{ADDRESS}:53"', 'view="",zone="."'
EVERY_WAY: list[tuple[Transport, str]] = [(over, to) for over in ("udp", "tcp") for to in (ADDRESS, ADDRESS6)]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1=db-0", "10.244.1.2=db-1"))
        node.manifests.write("many", headless("many", *[f"10.244.2.{number}" for number in range(1, 201)]))
        yield node


@pytest.fixture(scope="module")
def world(node: Node) -> Iterator[World]:
    with World(node.namespace, WORLD) as world:
        yield world


@pytest.fixture(scope="module", autouse=True)
def server(node: Node, world: World) -> Iterator[DnsProcess]:
    with node.server(upstream=world) as server:
        yield server


@pytest.mark.parametrize(("over", "to"), EVERY_WAY)
def test_a_headless_service_by_every_way_in(node: Node, over: Transport, to: str) -> None:
    assert node.ips(DB, over=over, to=to) == ["10.244.1.1", "10.244.1.2"]
    assert node.ips(f"db-1.{DB}", over=over, to=to) == ["10.244.1.2"]
    assert node.rcode(f"db-2.{DB}", over=over, to=to) == "NXDOMAIN"


@pytest.mark.parametrize(("over", "to"), EVERY_WAY)
def test_names_outside_are_asked_of_the_upstream(node: Node, over: Transport, to: str) -> None:
    assert node.ips("www.example", over=over, to=to) == ["192.0.2.80"]
    assert node.rcode("none.example", over=over, to=to) == "NXDOMAIN"
    assert node.rcode("fail.example", over=over, to=to) == "SERVFAIL"


def test_an_answer_from_outside_is_kept(node: Node, world: World) -> None:
    for _ in range(5):
        assert node.ips("kept.example") == ["192.0.2.80"]
    assert world.asked.count("kept.example.") == 1


def test_each_question_outside_has_a_port_and_an_id_of_its_own(node: Node, world: World) -> None:
    world.ports.clear()
    world.ids.clear()
    for number in range(50):
        node.ips(f"n{number}.example")
    assert len(world.ports) > 45
    assert len(set(world.ids)) > 45
    assert max(world.ids) - min(world.ids) > 30_000


def test_a_cut_answer_is_fetched_whole_and_cut_for_each_client(node: Node, world: World) -> None:
    assert len(node.ips("big.example", over="tcp")) == 200
    cut = node.ask("big.example")
    assert cut.flags & dns.flags.TC
    assert len(cut.answer[0]) == 74
    assert len(node.ask("big.example", edns=None).answer[0]) == 30
    assert world.asked.count("big.example.") == 2  # by UDP and then by TCP, for all of them


def test_many_endpoints_by_udp_and_tcp(node: Node) -> None:
    name = "many.shop.svc.cluster.local"
    assert len(node.ips(name, over="tcp")) == 200
    cut = node.ask(name)
    assert cut.flags & dns.flags.TC
    assert len(cut.to_wire()) <= 1232


def test_who_does_not_wait_is_not_kept_by_who_does(node: Node) -> None:
    """Three queries in one segment, the first of which needs somebody slow."""
    queries = [dns.message.make_query(name, "A") for name in ("slow.example", DB, f"db-0.{DB}")]
    with node.connect() as sock:
        start = time.monotonic()
        sock.sendall(b"".join(len(wire := query.to_wire()).to_bytes(2) + wire for query in queries))
        replies = [dns.message.from_wire(_message(sock)) for _ in queries]
        assert time.monotonic() - start > SLOW_S * 0.9
    assert [reply.id for reply in replies] == [queries[1].id, queries[2].id, queries[0].id]


def test_one_octet_at_a_time(node: Node) -> None:
    query = dns.message.make_query(DB, "A")
    wire = query.to_wire()
    with node.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in len(wire).to_bytes(2) + wire:
            sock.send(bytes([octet]))
        assert query.is_response(dns.message.from_wire(_message(sock)))


def test_what_is_no_message_ends_the_connection(node: Node) -> None:
    with node.connect() as sock:
        sock.sendall(b"\0\5hello")
        assert sock.recv(100) == b""


def test_half_closed_is_still_answered(node: Node) -> None:
    query = dns.message.make_query("slow.half.example", "A")
    wire = query.to_wire()
    with node.connect() as sock:
        sock.sendall(len(wire).to_bytes(2) + wire)
        sock.shutdown(socket.SHUT_WR)
        assert query.is_response(dns.message.from_wire(_message(sock)))
        assert sock.recv(100) == b""


def test_idle_connections_are_closed_in_order(node: Node) -> None:
    with node.connect() as sock:
        sock.settimeout(20)
        start = time.monotonic()
        assert sock.recv(100) == b""  # a FIN; a reset would raise
        assert 9 < time.monotonic() - start < 15


def test_one_client_can_not_take_all_connections(node: Node) -> None:
    connections = [node.connect() for _ in range(120)]
    try:
        for sock in connections[-100:]:
            sock.setblocking(False)
        wire = dns.message.make_query(DB, "A").to_wire()
        with node.connect() as sock:
            sock.sendall(len(wire).to_bytes(2) + wire)
            assert _message(sock)
        assert connections[0].recv(100) == b""  # the oldest gave way
    finally:
        for sock in connections:
            sock.close()


def test_a_change_is_in_the_answers(node: Node) -> None:
    node.manifests.write("cache", headless("cache", "10.244.3.1"))
    eventually(lambda: node.ips("cache.shop.svc.cluster.local") == ["10.244.3.1"], "a new Service has a name")
    node.manifests.write("cache", headless("cache", "10.244.3.1", "10.244.3.2"))
    eventually(lambda: len(node.ips("cache.shop.svc.cluster.local")) == 2, "a new endpoint is in the answer")
    node.manifests.remove("cache")
    eventually(lambda: node.rcode("cache.shop.svc.cluster.local") == "NXDOMAIN", "a Service that has gone has no name")


def test_it_outlives_whatever_comes(node: Node, server: DnsProcess) -> None:
    """Mutations of good queries by UDP and TCP: nothing of them is an error of ours, and answers go on."""
    chance = random.Random(20)
    good = [
        dns.message.make_query(name, "A", use_edns=0).to_wire() for name in (DB, "www.example", "x.svc.cluster.local")
    ]
    with node.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((ADDRESS, 53))
        for _ in range(3000):
            query = bytearray(chance.choice(good))
            for _ in range(chance.randrange(1, 6)):
                query[chance.randrange(len(query))] = chance.randrange(256)
            sock.send(query[: chance.randrange(1, len(query) + 1)] if chance.random() < 0.2 else query)
    for _ in range(50):
        with node.connect() as sock:
            sock.sendall(chance.randbytes(chance.randrange(1, 200)))
    assert node.ips(DB) == ["10.244.1.1", "10.244.1.2"]
    assert "failed" not in server.said()
    assert "ended with code" not in server.said()


def test_metrics_are_coredns(node: Node, server: DnsProcess) -> None:
    series = f'coredns_dns_requests_total{{family="1",proto="udp",{SERVER},type="PTR",{ZONE}}}'
    assert server.metric(series) is None
    node.rcode("1.1.244.10.in-addr.arpa", "PTR")
    eventually(lambda: server.metric(series) == 1, "the query is counted")
    answered = f"coredns_dns_request_duration_seconds_count{{{SERVER},{ZONE}}}"
    asked = f'coredns_proxy_request_duration_seconds_count{{proxy_name="forward",rcode="NOERROR",to="{WORLD}:53"}}'
    assert (server.metric(answered) or 0) > 1
    assert (server.metric(asked) or 0) > 1
    assert server.metric("kproxy_dns_data_age_seconds") == 0


def _message(sock: socket.socket) -> bytes:
    """The next message on a connection."""
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2]):
        more = sock.recv(2 if len(data) < 2 else 2 + int.from_bytes(data[:2]) - len(data))
        assert more, "the connection ended"
        data += more
    return data[2:]
