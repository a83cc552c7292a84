"""Totals that only grow, from counters that begin anew whenever an element is written."""

from __future__ import annotations

from kproxy.plan.nftables.connections import ConnectionCounts, split_name, totals_of
from kproxy.plan.nftables.packing import pack_backend, pack_frontend, pack_port, pack_slot

WEB, ALIAS = pack_frontend("10.96.0.10", "TCP", 80), pack_frontend("203.0.113.5", "TCP", 80)
NODE_PORT = pack_port("TCP", 30080)
VERDICT, LONGER = b"goto cluster-ip-4\0shop/web:http", b"goto cluster-ip-8\0shop/web:http"
ONE, TWO = pack_backend("10.180.0.1", 8080), pack_backend("10.180.0.2", 8080)
NONE: dict[str, tuple[str, dict[bytes, tuple[bytes, int]]]] = {}


def test_all_frontends_of_a_service_port_count_together() -> None:
    counts = ConnectionCounts()
    frontends = {WEB: (VERDICT, 3), ALIAS: (b"goto external-4\0shop/web:http", 2)}
    counts.take(
        {"service-ips": frontends, "service-nodeports": {NODE_PORT: (b"goto nodeport-4\0shop/web:http", 1)}}, NONE
    )
    assert counts.services == {"shop/web:http": 6}


def test_a_counter_that_begins_anew_goes_on() -> None:
    counts = ConnectionCounts()
    for value, packets, total in [(VERDICT, 5, 5), (VERDICT, 9, 9), (LONGER, 2, 11), (LONGER, 1, 12), (LONGER, 1, 12)]:
        counts.take({"service-ips": {WEB: (value, packets)}}, NONE)
        assert counts.services == {"shop/web:http": total}


def test_an_endpoint_keeps_its_total_when_it_moves_to_another_slot() -> None:
    counts = ConnectionCounts()
    frontends = {"service-ips": {WEB: (VERDICT, 0)}}
    slots = [WEB + pack_slot(number) for number in range(2)]
    counts.take(frontends, {"endpoints": ("service-ips", {slots[0]: (ONE, 4), slots[1]: (TWO, 6)})})
    assert counts.endpoints == {("shop/web:http", "10.180.0.1:8080"): 4, ("shop/web:http", "10.180.0.2:8080"): 6}
    counts.take(frontends, {"endpoints": ("service-ips", {slots[0]: (TWO, 1)})})
    assert counts.endpoints == {("shop/web:http", "10.180.0.2:8080"): 7}


def test_what_is_gone_is_forgotten_and_a_slot_without_a_frontend_is_passed_over() -> None:
    counts = ConnectionCounts()
    slot = WEB + pack_slot(0)
    counts.take({"service-ips": {WEB: (VERDICT, 5)}}, {"endpoints": ("service-ips", {slot: (ONE, 4)})})
    counts.take({"service-ips": {}}, {"endpoints": ("service-ips", {slot: (ONE, 4)})})
    assert (counts.services, counts.endpoints) == ({}, {})


def test_families_are_summed_and_ipv6_is_in_brackets() -> None:
    ipv4, ipv6 = ConnectionCounts(), ConnectionCounts()
    ipv4.take({"service-ips": {WEB: (VERDICT, 5)}}, NONE)
    frontend = pack_frontend("fd00:96::10", "TCP", 80)
    slots = {frontend + pack_slot(0): (pack_backend("fd00:180::1", 8080), 2)}
    ipv6.take({"service-ips": {frontend: (VERDICT, 2)}}, {"endpoints": ("service-ips", slots)})
    services, endpoints = totals_of([ipv4, ipv6])
    assert services == {"shop/web:http": 7}
    assert endpoints == {("shop/web:http", "[fd00:180::1]:8080"): 2}


def test_names() -> None:
    assert split_name("shop/web:http") == ("shop", "web", "http")
    assert split_name("shop/web") == ("shop", "web", "")
