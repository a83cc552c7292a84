"""The responder end to end, bytes to bytes: what every server that is built around it relies on."""

from __future__ import annotations

import ipaddress

import dns.flags
import dns.message
import dns.rcode
import pytest

from kproxy.dns.kept import KeptAnswers, Kind
from kproxy.dns.responder import Responder
from kproxy.dns.upstream import read_response
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from tests.dns.cluster import ask, forwarded, gone, records, service, slice_


@pytest.fixture
def zone() -> Zone:
    zone = Zone(ZoneConfig(addresses=("169.254.20.10",)))
    zone.apply([service("shop/web", "10.96.0.1", on=["http/TCP/80"])], serial=7)
    zone.synced = True
    return zone


def test_an_answer_is_given_again_until_the_zone_changes(zone: Zone) -> None:
    responder = Responder(zone)
    for _ in range(3):
        assert records(ask(responder, "web.shop.svc.cluster.local.").answer) == {
            "web.shop.svc.cluster.local. 5 A 10.96.0.1"
        }
    zone.apply([service("shop/web", "10.96.0.9")])
    assert records(ask(responder, "web.shop.svc.cluster.local.").answer) == {
        "web.shop.svc.cluster.local. 5 A 10.96.0.9"
    }
    zone.apply([gone("Service", "shop/web")])
    assert ask(responder, "web.shop.svc.cluster.local.").rcode() == dns.rcode.NXDOMAIN


def test_answers_are_counted_by_kind(zone: Zone) -> None:
    responder = Responder(zone)
    for _ in range(3):
        ask(responder, "web.shop.svc.cluster.local.")
    ask(responder, "no.shop.svc.cluster.local.")
    zone.apply([service("shop/web", "10.96.0.9")])
    ask(responder, "web.shop.svc.cluster.local.")
    counts = responder.take_counts()
    assert sorted((kind.qtype, kind.rcode, count) for kind, count in counts.items()) == [(1, 0, 4), (1, 3, 1)]
    assert responder.take_counts() == {}


def test_what_others_do_leaves_an_answer_where_it_is(zone: Zone) -> None:
    """A change costs what it touches, also of what is kept."""
    responder = Responder(zone)
    names = ("web.shop.svc", "nosuch.shop.svc", "www.example.com.shop.svc", "foo", "shop.svc")
    for name in names:
        ask(responder, f"{name}.cluster.local.")
    assert len(responder._kept) == 5
    zone.apply([service("other/thing", "10.96.0.8")])
    ask(responder, "web.shop.svc.cluster.local.")
    assert len(responder._kept) == 4  # that of the namespace may have changed
    zone.apply([service("shop/nosuch", "10.96.0.9")])
    assert records(ask(responder, "nosuch.shop.svc.cluster.local.").answer) == {
        "nosuch.shop.svc.cluster.local. 5 A 10.96.0.9"
    }
    zone.apply([service("shop/com", "10.96.0.10")])
    assert ask(responder, "www.example.com.shop.svc.cluster.local.").rcode() == dns.rcode.NXDOMAIN


def test_a_responder_that_was_not_asked_for_long_knows_nothing(zone: Zone) -> None:
    responder = Responder(zone)
    ask(responder, "web.shop.svc.cluster.local.")
    for number in range(300):
        zone.apply([service("other/thing", f"10.96.1.{number % 250 + 1}")])
    zone.apply([service("shop/web", "10.96.0.9")])
    assert zone.changed_since(1) is None
    assert records(ask(responder, "web.shop.svc.cluster.local.").answer) == {
        "web.shop.svc.cluster.local. 5 A 10.96.0.9"
    }


def test_answers_that_nobody_asks_for_make_room() -> None:
    store = KeptAnswers(most=10)
    kind = Kind(1, 0, 40, 60, dnssec_ok=False)
    store.put(b"often", b"", kind, b"")
    for number in range(100):
        store.put(b"%d" % number, b"", kind, b"")
        assert store.find(b"often")
        assert len(store) <= 20
    assert store.find(b"1") is None


BIG = [f"10.1.{number >> 8}.{number & 255}" for number in range(5000)]


def big_zone(*, zonal: bool = False) -> Zone:
    """A headless Service of 5,000 endpoints in zone a, which are all called the same."""
    zone = Zone(ZoneConfig(zonal=zonal))
    parts = [slice_(f"shop/{n}", "big", *[f"{ip}=db@a" for ip in BIG[n : n + 100]]) for n in range(0, 5000, 100)]
    zone.apply([service("shop/big", "None"), *parts])
    zone.synced = True
    return zone


@pytest.mark.parametrize("above", ["", "db.", "a.pin._zone.", "a.prefer._zone.", "b.prefer._zone."])
def test_spellings_and_sizes_of_a_query_share_the_records(above: str) -> None:
    """Clients that randomise case (0x20) would otherwise fill the memory: 160 KB each time."""
    responder = Responder(big_zone(zonal=True))
    for edns in range(512, 712):
        name = "".join(one.upper() if edns >> at & 1 else one for at, one in enumerate("big.shop.svc"))
        assert ask(responder, f"{above}{name}.cluster.local.", edns=edns).answer
    rings = {id(reply.ring) for reply, _, _ in responder._kept.recent.values() if not isinstance(reply, bytes)}
    assert len(responder._kept) == 200
    assert len(rings) == 1


def test_what_a_client_puts_behind_the_question_is_not_kept(zone: Zone) -> None:
    query = dns.message.make_query("web.shop.svc.cluster.local.", "A").to_wire()
    records_behind = query[:10] + b"\0\1" + query[12:] + b"\0\0\x10\0\1\0\0\0\0\x75\x30" + bytes(30_000)
    with_padding = dns.message.make_query("web.shop.svc.cluster.local.", "A", use_edns=0, pad=468).to_wire()
    for message in (query + bytes(40_000), records_behind, with_padding):
        responder = Responder(zone, tcp=True)
        assert dns.message.from_wire(responder.answer(message)).answer  # type: ignore[arg-type]
        assert len(responder._kept) == 0
    for edns in (None, 1232):
        responder = Responder(zone)
        ask(responder, "web.shop.svc.cluster.local.", edns=edns)
        assert len(responder._kept) == 1


def test_a_failure_is_nobody_else_s(zone: Zone) -> None:
    """One client asks too much, or the servers were silent a moment ago: the next one may fare better."""
    responder = Responder(zone, recursion=True)
    forward = forwarded(responder, "www.example.org.")
    responder.keep_briefly(forward, forward.fail())
    forwarded(responder, "www.example.org.")
    upstream = dns.message.make_response(dns.message.from_wire(forward.question.message(1)))
    responder.keep_briefly(forward, forward.complete(read_response(upstream.to_wire(), forward.question)))
    assert ask(responder, "www.example.org.").rcode() == dns.rcode.NOERROR


def test_outside_names_are_forwarded_and_the_reply_is_the_clients(zone: Zone) -> None:
    forward = forwarded(Responder(zone, recursion=True), "WwW.example.ORG.")
    upstream = dns.message.make_response(dns.message.from_wire(forward.question.message(4711)))
    assert upstream.question[0].name.to_text() == "www.example.org."
    upstream.answer.append(dns.rrset.from_text("www.example.org.", 300, "IN", "A", "192.0.2.1", "192.0.2.2"))
    response = read_response(upstream.to_wire(), forward.question)
    assert response.ttl() == 300
    reply = dns.message.from_wire(forward.complete(response, age=100))
    assert reply.question[0].name.to_text() == "WwW.example.ORG."
    assert reply.flags & dns.flags.RA
    assert records(reply.answer) == {
        "WwW.example.ORG. 200 A 192.0.2.1",
        "WwW.example.ORG. 200 A 192.0.2.2",
    }
    assert dns.message.from_wire(forward.fail()).rcode() == dns.rcode.SERVFAIL


def test_every_endpoint_comes_first_equally_often() -> None:
    zone = Zone(ZoneConfig())
    ips = [f"10.1.{number >> 8}.{number & 255}" for number in range(5000)]
    zone.apply(
        [service("shop/big", "None"), *[slice_(f"shop/{n}", "big", *ips[n : n + 100]) for n in range(0, 5000, 100)]]
    )
    zone.synced = True
    udp, tcp = Responder(zone), Responder(zone, tcp=True)
    query = dns.message.make_query("big.shop.svc.cluster.local.", "A", use_edns=0, payload=1232).to_wire()
    first = len(query) - 11 + 12  # behind the question, and the first record's owner, type, class, TTL and length
    firsts = [udp.answer(query)[first : first + 4] for _ in range(5000)]  # type: ignore[index]
    assert sorted(firsts) == sorted(ipaddress.ip_address(ip).packed for ip in ips)
    seen: set[str] = set()
    for _ in range(5000 // 73 + 1):
        reply = ask(udp, "big.shop.svc.cluster.local.", edns=1232)
        assert reply.flags & dns.flags.TC
        seen |= {rdata.to_text() for rdata in reply.answer[0]}
    assert seen == set(ips)
    reply = ask(tcp, "big.shop.svc.cluster.local.")
    assert len(reply.answer[0]) == (65535 - 12 - 33) // 16
