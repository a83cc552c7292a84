"""The whole zone over TCP, read by dnspython's own client: for whom it is, and for nobody else."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest

from tests.dns.cluster import manifest, service, slice_
from tests.dns.fixtures import CLUSTERS
from tests.dns.server.running import ADDRESS, ADDRESS6, Node, dns_node
from tests.lab import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

ZONE = "cluster.local"
ALLOWED, OTHER = "127.0.0.8", "127.0.0.9"
BIG = [slice_(f"shop/big-{n}", "big", *[f"10.{n}.{m >> 8}.{m & 255}" for m in range(1000)]) for n in range(20)]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with dns_node() as node:
        changes = (*CLUSTERS["all"][1], service("shop/big", "None"), *BIG)
        node.manifests.write("cluster", [manifest(change) for change in changes])
        with node.server("--dns-transfer-to", f"{ALLOWED}/32,fd00:20::/64"):
            yield node


def whole(node: Node, qtype: str, source: str, to: str = ADDRESS) -> dns.zone.Zone:
    """Everything, by a transfer."""
    messages = node.namespace.call(
        lambda: list(
            dns.query.xfr(to, ZONE, rdtype=qtype, serial=1, source=source, relativize=False, lifetime=scaled(30))
        )
    )
    return dns.zone.from_xfr(iter(messages), relativize=False)


def refused(node: Node, name: str, qtype: str, source: str, *, tcp: bool) -> bool:
    query = dns.message.make_query(name, qtype)
    if qtype == "IXFR":
        soa = f"ns.dns.{ZONE}. hostmaster.{ZONE}. 1 7200 1800 86400 5"
        query.authority.append(dns.rrset.from_text(f"{name}.", 5, "IN", "SOA", soa))
    with node.namespace.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(scaled(5))
        sock.bind((source, 0))
        sock.connect((ADDRESS, 53))
        wire = query.to_wire()
        sock.sendall(len(wire).to_bytes(2) + wire if tcp else wire)
        reply = dns.message.from_wire(sock.recv(4096)[2 if tcp else 0 :])
    return (reply.rcode(), reply.answer) == (dns.rcode.REFUSED, [])


@pytest.mark.parametrize(("source", "to"), [(ALLOWED, ADDRESS), (ADDRESS6, ADDRESS6)])
def test_126_a_transfer(node: Node, source: str, to: str) -> None:
    zone = whole(node, "AXFR", source, to)
    for name, qtype, expected in (
        ("web.shop.svc", "A", {"10.96.0.1"}),
        ("_http._tcp.web.shop.svc", "SRV", {f"0 100 80 web.shop.svc.{ZONE}."}),
        ("twin.peers.shop.svc", "A", {"10.244.0.4", "10.244.0.5"}),
        ("ext.shop.svc", "CNAME", {"target.example."}),
        ("ns.dns", "A", {ADDRESS}),
        ("ns.dns", "AAAA", {ADDRESS6}),
    ):
        found = zone.find_rdataset(f"{name}.{ZONE}.", qtype)
        assert {one.to_text() for one in found} == expected, name
    assert len(zone.find_rdataset(f"big.shop.svc.{ZONE}.", "A")) == 20_000


def test_127_a_transfer_to_who_has_it(node: Node) -> None:
    soa = node.ask(ZONE, "SOA").answer[0][0]
    query = dns.message.make_query(ZONE, "IXFR")
    query.authority.append(dns.rrset.from_rdata(f"{ZONE}.", 5, soa))
    with node.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(scaled(5))
        sock.bind((ALLOWED, 0))
        sock.connect((ADDRESS, 53))
        for _ in range(2):
            dns.query.send_tcp(sock, query)
            reply, _ = dns.query.receive_tcp(sock, one_rr_per_rrset=True)
            assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.SOA]
    assert len(whole(node, "IXFR", ALLOWED).nodes) > 20_000


def test_128_and_129_who_may_not_have_it_and_what_is_no_zone(node: Node) -> None:
    for qtype in ("AXFR", "IXFR"):
        assert refused(node, ZONE, qtype, OTHER, tcp=True)
        assert refused(node, ZONE, qtype, ALLOWED, tcp=False)
        assert refused(node, "example.com", qtype, ALLOWED, tcp=True)


def test_a_client_that_reads_slowly_keeps_nobody_waiting(node: Node) -> None:
    query = dns.message.make_query(ZONE, "AXFR")
    with node.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(scaled(30))
        sock.bind((ALLOWED, 0))
        sock.connect((ADDRESS, 53))
        dns.query.send_tcp(sock, query)
        for _ in range(20):
            assert node.ips(f"web.shop.svc.{ZONE}") == ["10.96.0.1"]
        soas = 0
        while soas < 2:
            reply, _ = dns.query.receive_tcp(sock, one_rr_per_rrset=True)
            soas += sum(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.answer)
        # The same connection goes on after it.
        dns.query.send_tcp(sock, dns.message.make_query(f"web.shop.svc.{ZONE}", "A"))
        assert dns.query.receive_tcp(sock)[0].answer
