"""Addresses and CIDRs become canonical strings, or are refused."""

from __future__ import annotations

import pytest

from kproxy.state.addresses import Family, cidr_contains, parse_cidr, parse_ip, with_port


@pytest.mark.parametrize(
    ("text", "family", "canonical"),
    [
        ("10.0.0.1", "IPv4", "10.0.0.1"),
        ("0.0.0.0", "IPv4", "0.0.0.0"),
        ("FD00:0:0::0001", "IPv6", "fd00::1"),
        ("fd00::10.0.0.1", "IPv6", "fd00::a00:1"),
        ("::", "IPv6", "::"),
    ],
)
def test_addresses_are_made_canonical(text: str, family: str, canonical: str) -> None:
    assert parse_ip(text) == (family, canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",  # octal to some programs, decimal to others
        " 10.0.0.1",
        "10.0.0.1\n",
        "10.0.0.1/32",
        "10.0.0.1 -j ACCEPT",
        "fe80::1%eth0",
        "fe80::1%0 -j ACCEPT",
        "::ffff:10.0.0.1",
        "١٠.0.0.1",
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_ip(text)


@pytest.mark.parametrize(
    ("text", "family", "canonical"),
    [
        ("10.0.0.0/8", "IPv4", "10.0.0.0/8"),
        ("10.1.2.3/8", "IPv4", "10.0.0.0/8"),  # Go's parser clears host bits too
        ("0.0.0.0/0", "IPv4", "0.0.0.0/0"),
        (" 203.0.113.0/24 ", "IPv4", "203.0.113.0/24"),
        ("FD00:0:0::/48", "IPv6", "fd00::/48"),
        ("::/0", "IPv6", "::/0"),
    ],
)
def test_cidrs_are_made_canonical(text: str, family: str, canonical: str) -> None:
    assert parse_cidr(text) == (family, canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "fd00::/129",
        "10.0.0.0/8 -j ACCEPT",
        "10.0.0.0/8\n-A X",
        # Python takes these, Go (and so the API server and kube-proxy) doesn't.
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.0.0.255",
        "fe80::1%eth0/64",
    ],
)
def test_what_is_no_cidr_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_cidr(text)


@pytest.mark.parametrize(
    ("cidr", "ip", "held"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("0.0.0.0/0", "11.0.0.1", True),
        ("0.0.0.0/0", "fd00::1", False),
        ("::/0", "10.0.0.1", False),
        ("fd00::/64", "fd00::ffff", True),
    ],
)
def test_a_cidr_holds_addresses_of_its_family(cidr: str, ip: str, held: bool) -> None:
    assert cidr_contains(cidr, ip) is held


def test_joining_address_and_port() -> None:
    assert with_port("10.0.0.1", 80) == "10.0.0.1:80"
    assert with_port("fd00::1", 80) == "[fd00::1]:80"


def test_families() -> None:
    assert [family.bits for family in Family] == [32, 128]
