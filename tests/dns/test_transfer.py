"""The whole zone, message by message; dnspython reads it."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rrset
import pytest

from kproxy.dns.responder import Responder
from kproxy.dns.transfer import ROOM, ZoneChanged
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from tests.dns.cluster import ask, records, service, slice_
from tests.dns.fixtures import make_zone

ZONE = "cluster.local."
SOA = "ns.dns.cluster.local. hostmaster.cluster.local. 4711 7200 1800 86400 5"


def query(name: str = ZONE, qtype: str = "AXFR", serial: int | None = None) -> bytes:
    made = dns.message.make_query(name, qtype)
    if serial is not None:
        made.authority.append(dns.rrset.from_text(name, 5, "IN", "SOA", SOA.replace("4711", str(serial))))
    wire: bytes = made.to_wire()
    return wire


def read(zone: Zone, message: bytes) -> list[dns.message.Message]:
    messages = Responder(zone, tcp=True).transfer(message)
    assert messages is not None
    return [dns.message.from_wire(one, one_rr_per_rrset=True) for one in messages]


def content(zone: Zone, message: bytes) -> list[str]:
    """The records, in their order."""
    return [next(iter(records([rrset]))) for one in read(zone, message) for rrset in one.answer]


def test_every_record_is_what_its_name_has() -> None:
    zone = make_zone("all")
    first, *rest, last = content(zone, query())
    assert first == last == f"{ZONE} 5 SOA {SOA}"
    responder = Responder(zone, tcp=True)
    for name, qtype in {(record.split()[0], record.split()[2]) for record in rest}:
        expected = records(ask(responder, name, qtype).answer)
        assert {record for record in rest if record.split()[::2][:2] == [name, qtype]} == expected, name
    assert len(rest) == len(set(rest))


def test_what_is_there() -> None:
    found = set(content(make_zone("all"), query()))
    assert {
        f"{ZONE} 5 NS ns.dns.{ZONE}",
        f"web.shop.svc.{ZONE} 5 A 10.96.0.1",
        f"web.shop.svc.{ZONE} 5 SRV 0 100 80 web.shop.svc.{ZONE}",
        f"_http._tcp.web.shop.svc.{ZONE} 5 SRV 0 100 80 web.shop.svc.{ZONE}",
        f"dual.shop.svc.{ZONE} 5 AAAA fd00:96::3",
        f"peers.shop.svc.{ZONE} 5 A 10.244.0.4",
        f"twin.peers.shop.svc.{ZONE} 5 A 10.244.0.4",
        f"_http._tcp.peers.shop.svc.{ZONE} 5 SRV 0 16 80 twin.peers.shop.svc.{ZONE}",
        f"ext.shop.svc.{ZONE} 5 CNAME target.example.",
    } <= found
    assert not [record for record in found if record.startswith(("stale.", "10-244-0-1.web.", "dns-version."))]


def test_the_zone_s_name_comes_back_as_it_was_spelt() -> None:
    wire = query("ClUsTeR.LoCaL.")
    message = next(Responder(make_zone("shop"), tcp=True).transfer(wire) or iter(()))
    assert message[12 : len(wire)] == wire[12:]
    assert dns.message.from_wire(message).answer[0].name.to_text() == "ClUsTeR.LoCaL."


@pytest.mark.parametrize(("serial", "whole"), [(4711, False), (4710, True), (None, True)])
def test_127_who_has_it_is_told_so(serial: int | None, whole: bool) -> None:
    found = content(make_zone("shop"), query(qtype="IXFR", serial=serial))
    assert (len(found) > 1) is whole
    assert found[0] == f"{ZONE} 5 SOA {SOA}"


def test_128_servers_of_both_families_are_one_name() -> None:
    zone = Zone(ZoneConfig(addresses=("192.0.2.1", "2001:db8::1")))
    zone.synced = True
    assert content(zone, query())[1:-1] == [
        f"{ZONE} 5 NS ns.dns.{ZONE}",
        f"ns.dns.{ZONE} 5 A 192.0.2.1",
        f"ns.dns.{ZONE} 5 AAAA 2001:db8::1",
    ]


def big_zone() -> Zone:
    zone = Zone(ZoneConfig())
    slices = [slice_(f"shop/{n}", "big", *[f"10.{n}.{m >> 8}.{m & 255}" for m in range(1000)]) for n in range(5)]
    zone.apply([service("shop/big", "None"), *slices], serial=1)
    zone.synced = True
    return zone


def test_many_records_are_many_messages() -> None:
    messages = read(big_zone(), query())
    assert all(len(one.to_wire()) < 2 * ROOM for one in messages)
    assert len(messages) > 10
    assert sum(len(one.answer) for one in messages) == 2 + 1 + 2 * 5000


def test_a_zone_that_changes_ends_it() -> None:
    zone = big_zone()
    messages = Responder(zone, tcp=True).transfer(query())
    assert messages is not None
    assert next(messages)
    zone.apply([service("shop/other", "10.96.0.9")], serial=2)
    with pytest.raises(ZoneChanged):
        next(messages)


@pytest.mark.parametrize("name", ["shop.svc.cluster.local.", "example.com.", "244.10.in-addr.arpa."])
def test_129_other_names_are_no_zones_of_ours(name: str) -> None:
    responder = Responder(make_zone("reverse"), tcp=True)
    assert responder.transfer(query(name)) is None
    assert ask(responder, name, "AXFR").rcode() == dns.rcode.REFUSED


def test_before_all_is_known_there_is_no_whole() -> None:
    zone = make_zone("shop")
    zone.synced = False
    assert Responder(zone, tcp=True).transfer(query()) is None


def test_broken_queries_are_none() -> None:
    wire = query(qtype="IXFR", serial=1)
    responder = Responder(make_zone("shop"), tcp=True)
    for at in range(len(wire)):
        for cut in (wire[:at], wire[:at] + b"\xff" + wire[at + 1 :]):
            for message in responder.transfer(cut) or ():
                dns.message.from_wire(message)


def test_a_name_that_is_too_long_for_the_domain_is_left_out() -> None:
    """The last label of a name that still fits has 49 octets here."""
    domain = ".".join(["d" * 63] * 3)
    zone = Zone(ZoneConfig(domain=domain))
    hosts = [f"10.0.0.{size}={'h' * size}" for size in (49, 50)]
    zone.apply(
        [service("shop/db", "None"), slice_("shop/db-1", "db", *hosts), service(f"shop/{'s' * 60}", "10.96.0.1")]
    )
    zone.synced = True
    names = {record.split()[0].removesuffix(f".{domain}.") for record in content(zone, query(domain))}
    assert {name for name in names if name.endswith("svc")} == {"db.shop.svc", f"{'h' * 49}.db.shop.svc"}
