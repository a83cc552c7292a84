"""What changes in the cluster, and what answers do then: the table's rows that are about time."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest

from kproxy.dns.forward import NO_REACHABLE_AUTHORITY
from kproxy.dns.responder import Responder
from kproxy.dns.upstream import read_response
from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from kproxy.errors import ConfigError
from tests.dns.cluster import ask, forwarded, gone, namespace, records, service, slice_
from tests.dns.fixtures import HTTP, make_zone

PEERS = "peers.shop.svc.cluster.local."


@pytest.fixture
def zone() -> Zone:
    return make_zone("all")


@pytest.fixture
def responder(zone: Zone) -> Responder:
    return Responder(zone, recursion=True)


def addresses(responder: Responder, name: str, qtype: str = "A") -> list[str] | str:
    """The addresses of a name, or the rcode where there are none."""
    reply = ask(responder, name, qtype)
    if reply.answer:
        return sorted(rdata.to_text() for rdata in reply.answer[-1])
    return dns.rcode.to_text(reply.rcode())


def test_21_the_last_endpoint_goes(zone: Zone, responder: Responder) -> None:
    zone.apply([gone("EndpointSlice", "shop/peers-1")])
    assert addresses(responder, PEERS) == "NOERROR"
    assert addresses(responder, PEERS, "AAAA") == ["fd00:244::1", "fd00:244::2"]
    zone.apply([slice_("shop/peers-2", "peers", on=HTTP)])
    assert addresses(responder, PEERS) == "NXDOMAIN"


def test_22_slices_come_after_their_service(zone: Zone, responder: Responder) -> None:
    zone.apply([service("shop/late", "None")])
    assert addresses(responder, "late.shop.svc.cluster.local.") == "NXDOMAIN"
    zone.apply([slice_("shop/late-1", "late", "10.244.0.70")])
    assert addresses(responder, "late.shop.svc.cluster.local.") == ["10.244.0.70"]


def test_23_a_new_service_and_its_endpoint(zone: Zone, responder: Responder) -> None:
    assert addresses(responder, "new.shop.svc.cluster.local.") == "NXDOMAIN"
    zone.apply([slice_("shop/new-1", "new", "10.244.0.222"), service("shop/new", "10.96.0.99")])
    assert addresses(responder, "new.shop.svc.cluster.local.") == ["10.96.0.99"]
    assert addresses(responder, "10-244-0-222.new.shop.svc.cluster.local.") == ["10.244.0.222"]


def test_24_an_endpoint_in_two_slices(zone: Zone, responder: Responder) -> None:
    zone.apply([slice_("shop/peers-9", "peers", "10.244.0.2", on=HTTP)])
    assert addresses(responder, PEERS) == ["10.244.0.2", "10.244.0.3", "10.244.0.4", "10.244.0.5"]
    assert len(ask(responder, PEERS, "SRV", edns=1232).answer[0]) == 5
    zone.apply([gone("EndpointSlice", "shop/peers-1")])
    assert addresses(responder, PEERS) == ["10.244.0.2"]
    assert addresses(responder, "2.0.244.10.in-addr.arpa.", "PTR") == ["10-244-0-2.peers.shop.svc.cluster.local."]


def test_54_a_port_of_150_endpoints(zone: Zone) -> None:
    reply = ask(Responder(zone, tcp=True), "_http._tcp.crowd.shop.svc.cluster.local.", "SRV")
    assert {(rdata.priority, rdata.weight, rdata.port) for rdata in reply.answer[0]} == {(0, 1, 80)}
    assert len(reply.answer[0]) == 150
    assert {rdata.to_text() for rrset in reply.additional for rdata in rrset} == {
        f"10.244.7.{number}" for number in range(1, 151)
    }


def test_56_a_port_gets_another_name(zone: Zone, responder: Responder) -> None:
    zone.apply([service("shop/web", "10.96.0.1", on=["web/TCP/80"])])
    assert addresses(responder, "_http._tcp.web.shop.svc.cluster.local.", "SRV") == "NXDOMAIN"
    assert addresses(responder, "_web._tcp.web.shop.svc.cluster.local.", "SRV") == [
        "0 100 80 web.shop.svc.cluster.local."
    ]


@pytest.mark.parametrize("truncated", [False, True])
def test_59_the_upstreams_truncation_is_passed_on(responder: Responder, truncated: bool) -> None:
    forward = forwarded(responder, "ext.shop.svc.cluster.local.")
    upstream = dns.message.make_response(dns.message.from_wire(forward.question.message(1)))
    upstream.answer.append(dns.rrset.from_text("target.example.", 5, "IN", "A", "192.0.2.4"))
    upstream.flags |= dns.flags.TC if truncated else 0
    reply = dns.message.from_wire(forward.complete(read_response(upstream.to_wire(), forward.question)))
    assert records(reply.answer) == {
        "ext.shop.svc.cluster.local. 5 CNAME target.example.",
        "target.example. 5 A 192.0.2.4",
    }
    assert bool(reply.flags & dns.flags.TC) is truncated


def test_64_the_target_of_an_external_name_can_not_be_asked(responder: Responder) -> None:
    """Neither "no such address", which a client would believe, nor a CNAME that leads nowhere."""
    reply = dns.message.from_wire(forwarded(responder, "ext.shop.svc.cluster.local.").fail(NO_REACHABLE_AUTHORITY))
    assert (reply.rcode(), reply.answer) == (dns.rcode.SERVFAIL, [])


def test_the_target_of_an_external_name_does_not_exist(responder: Responder) -> None:
    """RFC 6604: the rcode is that of the last name in the chain."""
    forward = forwarded(responder, "ext.shop.svc.cluster.local.")
    upstream = dns.message.make_response(dns.message.from_wire(forward.question.message(1)))
    upstream.set_rcode(dns.rcode.NXDOMAIN)
    soa = "ns.example. who.example. 1 7200 1800 86400 60"
    upstream.authority.append(dns.rrset.from_text("example.", 30, "IN", "SOA", soa))
    reply = dns.message.from_wire(forward.complete(read_response(upstream.to_wire(), forward.question)))
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert records(reply.answer) == {"ext.shop.svc.cluster.local. 5 CNAME target.example."}
    assert records(reply.authority) == {f"example. 30 SOA {soa}"}


def test_65_another_target(zone: Zone, responder: Responder) -> None:
    assert addresses(responder, "ext.shop.svc.cluster.local.", "CNAME") == ["target.example."]
    zone.apply([service("shop/ext", external_name="other.example")])
    assert addresses(responder, "ext.shop.svc.cluster.local.", "CNAME") == ["other.example."]


def test_66_an_external_name_becomes_a_cluster_ip(zone: Zone, responder: Responder) -> None:
    zone.apply([service("shop/ext", "10.96.0.44")])
    assert addresses(responder, "ext.shop.svc.cluster.local.") == ["10.96.0.44"]
    assert addresses(responder, "ext.shop.svc.cluster.local.", "CNAME") == "NOERROR"


def test_a_chain_of_names_ends(zone: Zone, responder: Responder) -> None:
    zone.apply([service("shop/round", external_name="round.shop.svc.cluster.local")])
    reply = ask(responder, "round.shop.svc.cluster.local.")
    assert reply.rcode() == dns.rcode.NOERROR
    assert records(reply.answer) == {"round.shop.svc.cluster.local. 5 CNAME round.shop.svc.cluster.local."}
    assert len(reply.to_wire()) < 160  # and it is there once
    links = [service(f"shop/l{link}", external_name=f"l{link + 1}.shop.svc.cluster.local") for link in range(30)]
    zone.apply(links)
    assert len(ask(responder, "l0.shop.svc.cluster.local.", edns=1232).answer) == 10


def test_115_and_116_before_all_is_known(zone: Zone, responder: Responder) -> None:
    zone.synced = False
    assert addresses(responder, "web.shop.svc.cluster.local.") == ["10.96.0.1"]
    reply = ask(responder, "nosuch.shop.svc.cluster.local.", edns=1232)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert [rrset.name.to_text() for rrset in reply.authority] == ["cluster.local."]
    assert [option.to_text() for option in reply.options] == ["EDE 14 (Not Ready)"]
    assert addresses(responder, "77.0.244.10.in-addr.arpa.", "PTR") == "SERVFAIL"
    for name in (PEERS, f"10-244-0-2.{PEERS}", f"_http._tcp.{PEERS}"):  # whether these are all of them is not known
        assert addresses(responder, name) == "SERVFAIL"
    zone.synced = True
    assert len(addresses(responder, PEERS)) == 4
    assert addresses(responder, "nosuch.shop.svc.cluster.local.") == "NXDOMAIN"


def test_nothing_leaks_before_all_is_known() -> None:
    zone = make_zone("fallthrough")
    zone.synced = False
    assert addresses(Responder(zone), "nosuch.shop.svc.cluster.local.") == "SERVFAIL"


def test_142_ten_thousand_services() -> None:
    zone = Zone(ZoneConfig())
    zone.apply(service(f"ns{number % 2}/s{number}", f"10.{number >> 8}.{number & 255}.1") for number in range(10_000))
    zone.synced = True
    responder = Responder(zone)
    for number in range(0, 10_000, 20):
        found = addresses(responder, f"s{number}.ns{number % 2}.svc.cluster.local.")
        assert found == [f"10.{number >> 8}.{number & 255}.1"]


def test_a_namespace_is_there_with_its_object_or_a_service() -> None:
    zone = Zone(ZoneConfig())
    zone.synced = True
    responder = Responder(zone)
    name = "shop.svc.cluster.local."
    assert addresses(responder, name) == "NXDOMAIN"
    zone.apply([service("shop/web", "10.96.0.1")])
    assert addresses(responder, name) == "NOERROR"
    zone.apply([namespace("shop"), gone("Service", "shop/web")])
    assert addresses(responder, name) == "NOERROR"
    zone.apply([gone("Namespace", "shop")])
    assert addresses(responder, name) == "NXDOMAIN"


def test_names_that_no_message_can_hold_are_left_out() -> None:
    """A label may have 63 octets, a name 255: with a long domain an endpoint's does not always fit."""
    zone = Zone(ZoneConfig(domain=".".join(["d" * 60] * 2), reverse=("10.0.0.0/8",)))
    key, hostname = f"{'n' * 60}/{'s' * 60}", "h" * 60
    zone.apply([service(key, "None"), slice_(f"{key}-1", "s" * 60, f"10.0.0.1={hostname}", "10.0.0.2=short", on=HTTP)])
    zone.synced = True
    responder = Responder(zone)
    owner = f"{'s' * 60}.{'n' * 60}.svc.{zone.config.domain}."
    assert len(owner) > 245
    assert addresses(responder, "1.0.0.10.in-addr.arpa.", "PTR") == "NXDOMAIN"
    assert addresses(responder, owner) == ["10.0.0.1", "10.0.0.2"]
    assert addresses(Responder(zone, tcp=True), owner, "SRV") == [f"0 100 80 short.{owner}"]


def test_the_name_servers_of_a_reverse_zone_are_the_clusters() -> None:
    responder = Responder(make_zone("reverse"))
    assert addresses(responder, "244.10.in-addr.arpa.", "NS") == ["ns.dns.cluster.local."]
    assert addresses(responder, "244.10.in-addr.arpa.", "SOA") == [
        "ns.dns.244.10.in-addr.arpa. hostmaster.244.10.in-addr.arpa. 4711 7200 1800 86400 5"
    ]


def test_what_does_not_matter_changes_nothing(zone: Zone) -> None:
    before = zone.generation
    zone.apply([slice_("shop/stale-1", "stale", "10.244.0.30!", "10.244.0.29!", on=["c/UDP/1234"])])
    zone.apply([service("shop/web", "10.96.0.1", on=HTTP), gone("Service", "shop/never-was")])
    assert zone.generation == before


def test_a_bad_object_keeps_its_last_good_answer(zone: Zone, responder: Responder) -> None:
    zone.apply([service("shop/web", "10.96.0.300"), service("shop/ext", external_name="not a name")])
    assert addresses(responder, "web.shop.svc.cluster.local.") == ["10.96.0.1"]
    assert [str(problem) for problem in zone.problems()] == [
        "Service shop/ext: spec.externalName: 'not a name' is not a domain name",
        "Service shop/web: spec.clusterIPs: '10.96.0.300' does not appear to be an IPv4 or IPv6 address",
    ]
    zone.apply([service("shop/web", "10.96.0.3"), gone("Service", "shop/ext")])
    assert addresses(responder, "web.shop.svc.cluster.local.") == ["10.96.0.3"]
    assert zone.problems() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "cluster..local"}, "clusterDomain: 'cluster..local' is not a domain name"),
        ({"domain": "."}, "clusterDomain: the root can't be the cluster's domain"),
        ({"domain": "x" * 64}, "clusterDomain"),
        ({"domain": ".".join(["a" * 60] * 5)}, "longer than 255"),
        ({"ttl": 3601}, "dns.ttl: 3601 is not in 0..3600 seconds"),
        ({"pods": "some"}, "dns.pods: 'some' is not one of disabled, insecure, verified"),
        ({"reverse": ("10.0.0.0/33",)}, "dns.reverse"),
        ({"zonal": True, "no_endpoints": True}, "dns.zonal: needs the endpoints that noEndpoints leaves out"),
        ({"namespaces": ("a.b",)}, "dns.namespaces: 'a.b' is not the name of a namespace"),
        ({"addresses": ("localhost",)}, "dns.addresses"),
        ({"fallthrough": ("a..b",)}, "dns.fallthrough"),
    ],
)
def test_a_wrong_configuration_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        ZoneConfig(**options)  # type: ignore[arg-type]
