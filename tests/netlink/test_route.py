"""Addresses as rtnetlink lists them: the layout by hand, then whatever else may come."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import Message, attribute
from kproxy.netlink.route import LinkAddress, dump_request, read_address
from kproxy.state.addresses import Family

NEW, DELETED, LINK = 20, 21, 16  # RTM_NEWADDR, RTM_DELADDR, RTM_NEWLINK
ADDRESS, LOCAL, FLAGS = 1, 2, 8
AF_INET, AF_INET6, AF_MPLS = 2, 10, 28


def message(family: int, *attributes: bytes, kind: int = NEW, flags: int = 0x80, link: int = 3) -> Message:
    return Message(kind, 0, 1, struct.pack("=BBBBI", family, 24, flags, 0, link) + b"".join(attributes))


def ip(kind: int, text: str) -> bytes:
    return attribute(kind, ipaddress.ip_address(text).packed)


@pytest.mark.parametrize(
    ("told", "address"),
    [
        (message(AF_INET, ip(ADDRESS, "10.9.0.1"), ip(LOCAL, "10.9.0.1")), (Family.IPV4, "10.9.0.1", 3, 0x80)),
        # Point to point: the other end, and the own one.
        (message(AF_INET, ip(ADDRESS, "10.9.0.2"), ip(LOCAL, "10.9.0.1")), (Family.IPV4, "10.9.0.1", 3, 0x80)),
        (message(AF_INET6, ip(ADDRESS, "fd00:0::1"), link=70000), (Family.IPV6, "fd00::1", 70000, 0x80)),
        (message(AF_INET6, ip(ADDRESS, "fd00::2"), ip(LOCAL, "fd00::1")), (Family.IPV6, "fd00::1", 3, 0x80)),
        # All the flags go before the first eight.
        (message(AF_INET6, ip(ADDRESS, "::1"), attribute(FLAGS, b"\x88\x02\0\0")), (Family.IPV6, "::1", 3, 0x288)),
        (message(AF_INET, ip(LOCAL, "10.9.0.1"), kind=DELETED), (Family.IPV4, "10.9.0.1", 3, 0x80)),
    ],
)
def test_read(told: Message, address: tuple[Family, str, int, int]) -> None:
    assert read_address(told) == LinkAddress(*address)


@pytest.mark.parametrize("told", [message(AF_MPLS), message(AF_INET, ip(LOCAL, "10.9.0.1"), kind=LINK)])
def test_about_something_else(told: Message) -> None:
    assert read_address(told) is None


@pytest.mark.parametrize(
    "told",
    [
        Message(NEW, 0, 1, b"\2\0\0\0\1\0\0"),
        message(AF_INET),
        message(AF_INET, ip(LOCAL, "fd00::1")),
        message(AF_INET6, ip(ADDRESS, "10.9.0.1")),
        message(AF_INET, b"\0"),
    ],
)
def test_malformed(told: Message) -> None:
    with pytest.raises(MalformedMessage):
        read_address(told)


@given(st.sampled_from([NEW, DELETED]), st.binary(max_size=60))
def test_any_bytes_are_an_address_or_malformed(kind: int, body: bytes) -> None:
    try:
        found = read_address(Message(kind, 0, 1, body))
    except MalformedMessage:
        return
    assert found is None or str(ipaddress.ip_address(found.ip)) == found.ip


def test_the_request() -> None:
    request = dump_request()
    assert (request.type, request.is_dump, request.body) == (22, True, bytes(8))
