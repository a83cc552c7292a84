"""The table's rows that are about time, about what is cut, and about many: asked of a running server."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import pytest

from tests.dns.cluster import manifest, service, slice_
from tests.dns.fixtures import CLUSTERS
from tests.dns.server.running import ADDRESS, WORLD, DnsProcess, Node, dns_node
from tests.dns.server.world import World
from tests.lab import scaled
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.sources.changes import Change

pytestmark = pytest.mark.root

CLUSTER = "shop.svc.cluster.local"
HTTP = ["http/TCP/80"]
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
PROGRAMMED = "coredns_kubernetes_dns_programming_duration_seconds"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with dns_node() as node:
        put(node, "cluster", *CLUSTERS["all"][1])
        yield node


@pytest.fixture(scope="module", autouse=True)
def server(node: Node) -> Iterator[DnsProcess]:
    with World(node.namespace, WORLD) as world, node.server(upstream=world) as server:
        yield server


def put(node: Node, file: str, *changes: Change) -> None:
    node.manifests.write(file, [manifest(change) for change in changes])


def found(node: Node, name: str, qtype: str = "A") -> list[str] | str:
    """The records of a name by TCP, or the rcode where there are none."""
    return node.ips(name, qtype, over="tcp") or node.rcode(name, qtype, over="tcp")


def becomes(node: Node, name: str, expected: list[str] | str, qtype: str = "A") -> None:
    eventually(lambda: found(node, name, qtype) == expected, f"{name} {qtype}: {expected}")


def test_21_the_last_endpoint_goes(node: Node) -> None:
    put(node, "last", service("shop/last", "None"), slice_("shop/last-1", "last", "10.244.5.1"))
    becomes(node, f"last.{CLUSTER}", ["10.244.5.1"])
    put(node, "last", service("shop/last", "None"), slice_("shop/last-1", "last"))
    becomes(node, f"last.{CLUSTER}", "NXDOMAIN")


def test_22_slices_come_after_their_service(node: Node) -> None:
    put(node, "late", service("shop/late", "None"))
    put(node, "marker", service("shop/marker", "10.96.5.1"))
    becomes(node, f"marker.{CLUSTER}", ["10.96.5.1"])
    assert found(node, f"late.{CLUSTER}") == "NXDOMAIN"
    put(node, "late-slice", slice_("shop/late-1", "late", "10.244.5.2"))
    becomes(node, f"late.{CLUSTER}", ["10.244.5.2"])


def test_23_a_new_service_and_its_endpoint(node: Node) -> None:
    assert found(node, f"new.{CLUSTER}") == "NXDOMAIN"
    put(node, "new", service("shop/new", "10.96.5.2"), slice_("shop/new-1", "new", "10.244.0.222"))
    becomes(node, f"new.{CLUSTER}", ["10.96.5.2"])
    becomes(node, f"10-244-0-222.new.{CLUSTER}", ["10.244.0.222"])


def test_24_an_endpoint_in_two_slices(node: Node) -> None:
    slices = slice_("shop/twice-1", "twice", "10.244.5.3", "10.244.5.4"), slice_("shop/twice-2", "twice", "10.244.5.3")
    put(node, "twice", service("shop/twice", "None"), *slices)
    becomes(node, f"twice.{CLUSTER}", ["10.244.5.3", "10.244.5.4"])
    put(node, "twice", service("shop/twice", "None"), slices[1])
    becomes(node, f"twice.{CLUSTER}", ["10.244.5.3"])


def test_54_a_port_of_150_endpoints(node: Node) -> None:
    reply = node.ask(f"_http._tcp.crowd.{CLUSTER}", "SRV", over="tcp")
    assert len(reply.answer[0]) == 150
    assert {(rdata.priority, rdata.weight, rdata.port) for rdata in reply.answer[0]} == {(0, 1, 80)}


def test_56_a_port_gets_another_name(node: Node) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        put(node, "renamed", service("shop/renamed", "10.96.5.3", on=[f"{name}/TCP/80"]))
        becomes(node, f"_{name}._tcp.renamed.{CLUSTER}", [f"0 100 80 renamed.{CLUSTER}."], "SRV")
        assert found(node, f"_{other}._tcp.renamed.{CLUSTER}", "SRV") == "NXDOMAIN"


def test_59_the_upstreams_truncation_is_passed_on(node: Node) -> None:
    put(node, "cut", service("shop/cut", external_name="cut.example"))
    becomes(node, f"cut.{CLUSTER}", ["192.0.2.80", "cut.example."])
    for over in ("udp", "tcp"):
        assert node.ask(f"cut.{CLUSTER}", over=over).flags & dns.flags.TC


def test_64_the_target_of_an_external_name_can_not_be_asked(node: Node) -> None:
    put(node, "silent", service("shop/silent", external_name="silent.example"))
    becomes(node, f"silent.{CLUSTER}", ["silent.example."], "CNAME")
    reply = node.ask(f"silent.{CLUSTER}")
    assert (reply.rcode(), reply.answer) == (2, [])
    assert [option.to_text() for option in reply.options] == ["EDE 22 (No Reachable Authority)"]


def test_65_and_66_an_external_name_gets_another_target_and_becomes_a_cluster_ip(node: Node) -> None:
    for target in ("one.example", "two.example"):
        put(node, "external", service("shop/external", external_name=target))
        becomes(node, f"external.{CLUSTER}", [f"{target}."], "CNAME")
    put(node, "external", service("shop/external", "10.96.5.4"))
    becomes(node, f"external.{CLUSTER}", ["10.96.5.4"])
    assert found(node, f"external.{CLUSTER}", "CNAME") == "NOERROR"


@pytest.mark.parametrize(
    ("address", "trigger", "more"),
    [("10.244.6.1", "132", (0, 1)), ("10.244.6.2", "66", (1, 1)), ("10.244.6.3", "nonsense", (0, 0))],
)
def test_134_how_long_ago_the_change_was(
    node: Node, server: DnsProcess, address: str, trigger: str, more: tuple[int, int]
) -> None:
    """A trigger so many seconds ago: how many more samples there are of up to 131 s, and in all."""

    def samples() -> tuple[float, float]:
        kind = 'service_kind="cluster_ip"'
        shorter = server.metric(f'{PROGRAMMED}_bucket{{le="131.072",{kind}}}') or 0
        return shorter, server.metric(f"{PROGRAMMED}_count{{{kind}}}") or 0

    before = samples()
    if trigger.isdigit():
        trigger = (datetime.now(UTC) - timedelta(seconds=int(trigger))).isoformat()
    made = manifest(slice_("shop/triggered-1", "triggered", address))
    made["metadata"]["annotations"] = {TRIGGER: trigger}
    node.manifests.write("triggered", [manifest(service("shop/triggered", "None")), made])
    becomes(node, f"triggered.{CLUSTER}", [address])
    expected = (before[0] + more[0], before[1] + more[1])
    eventually(lambda: samples() == expected, f"{expected} samples")


def test_135_to_137_edns_in_and_out(node: Node) -> None:
    query = dns.message.make_query(f"web.{CLUSTER}", "A", use_edns=0, payload=4096, want_dnssec=True)
    reply = node.namespace.call(lambda: dns.query.udp(query, ADDRESS, timeout=scaled(10)))
    assert (reply.edns, reply.payload, bool(reply.ednsflags & dns.flags.DO)) == (0, 1232, True)
    assert node.ask(f"web.{CLUSTER}", edns=None).edns == -1
    put(node, "thirty", service("shop/thirty", "None"), slice_("shop/t", "thirty", *[f"10.7.0.{n}" for n in range(30)]))
    becomes(node, f"thirty.{CLUSTER}", sorted(f"10.7.0.{n}" for n in range(30)))
    plain = dns.message.make_query(f"thirty.{CLUSTER}", "A")
    wire = plain.to_wire()
    reply = node.namespace.call(lambda: dns.query.udp(plain, ADDRESS, timeout=scaled(10)))
    packed = len(wire) + 16 * len(reply.answer[0])  # 16 octets a record: its owner is the pointer to offset 12
    assert packed <= 512 < packed + 16
    assert reply.flags & dns.flags.TC


def test_139_the_ttl_counts_down(node: Node) -> None:
    """For as long as the upstream says, neither longer nor shorter."""
    assert node.ask("counting.example").answer[0].ttl == 300
    eventually(lambda: node.ask("counting.example").answer[0].ttl < 300, "the TTL counts down")
    start = time.monotonic()
    assert node.ask("brief.example").answer[0].ttl <= 1
    eventually(
        lambda: node.ask("brief.example").answer[0].ttl == 1 and time.monotonic() > start + 1, "it is asked anew"
    )


def test_142_ten_thousand_services_and_a_sample_of_them(node: Node) -> None:
    put(node, "many", *[service(f"ns{n % 2}/s{n}", f"10.97.{n >> 8}.{n & 255}") for n in range(10_000)])
    eventually(lambda: found(node, "s9999.ns1.svc.cluster.local") == ["10.97.39.15"], "all are there", 60)
    for n in range(0, 10_000, 20):
        assert node.ips(f"s{n}.ns{n % 2}.svc.cluster.local") == [f"10.97.{n >> 8}.{n & 255}"]


def test_five_thousand_endpoints(node: Node) -> None:
    """Whole over TCP, as far as a message goes; over UDP cut, and each in its turn."""
    ips = [f"10.98.{number >> 8}.{number & 255}" for number in range(5000)]
    put(
        node,
        "huge",
        service("shop/huge", "None"),
        *[slice_(f"shop/h{at}", "huge", *ips[at : at + 100]) for at in range(0, 5000, 100)],
        service("shop/fits", "None"),
        *[slice_(f"shop/f{at}", "fits", *ips[at : at + 100]) for at in range(0, 4000, 100)],
    )
    eventually(lambda: len(node.ips(f"fits.{CLUSTER}", over="tcp")) == 4000, "they are there", 60)
    assert not node.ask(f"fits.{CLUSTER}", over="tcp").flags & dns.flags.TC
    reply = node.ask(f"huge.{CLUSTER}", over="tcp")
    assert reply.flags & dns.flags.TC
    assert len(reply.answer[0]) == (65_535 - len(dns.message.make_query(f"huge.{CLUSTER}", "A").to_wire()) - 11) // 16
    seen: set[str] = set()
    for _ in range(5000 // 73 + 1):
        reply = node.ask(f"huge.{CLUSTER}")
        assert reply.flags & dns.flags.TC
        seen |= {rdata.to_text() for rdata in reply.answer[0]}
    assert seen == set(ips)
