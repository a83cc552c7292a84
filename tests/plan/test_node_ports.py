from __future__ import annotations

import pytest

from kproxy.errors import ConfigError
from kproxy.plan.node_ports import parse_node_port_addresses
from kproxy.state.addresses import Family

NODE_IPS = {Family.IPV4: "192.168.0.1", Family.IPV6: "fd00::1"}
UNKNOWN_IPS = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}

LOCAL4 = ("10.0.0.1", "127.0.0.1", "192.168.0.1", "192.168.0.2")
LOCAL6 = ("::1", "fd00::1", "fd00::2")


# Behaviour of kube-proxy, section "nodePortAddresses" of the reference: all4/all6 = matches everything.
@pytest.mark.parametrize(
    ("values", "matching4", "matching6", "loopback"),
    [
        # Empty, a zero CIDR, and `all`: every address.
        ([], "all", "all", True),
        (["0.0.0.0/0", "::/0"], "all", "all", True),
        (["all"], "all", "all", True),
        (["192.168.0.0/16", "0.0.0.0/0", "fd00::/8"], "all", ("fd00::1", "fd00::2"), True),
        # No CIDR of a family: every address of that family.
        (["192.168.0.0/16"], ("192.168.0.1", "192.168.0.2"), "all", False),
        (["fd00::/64"], "all", ("fd00::1", "fd00::2"), True),
        # Several CIDRs; host bits do not count.
        (["10.0.0.7/24", "192.168.0.2/32", "fd00::2/128"], ("10.0.0.1", "192.168.0.2"), ("fd00::2",), False),
        # A CIDR that no address is in matches none.
        (["203.0.113.0/24", "2001:db8::/32"], (), (), False),
        # IPv4 loopback: within 127.0.0.0/8 or around it.
        (["127.0.0.1/32", "fd00::/64"], ("127.0.0.1",), ("fd00::1", "fd00::2"), True),
        (["126.0.0.0/7", "fd00::/64"], ("127.0.0.1",), ("fd00::1", "fd00::2"), True),
        (["0.0.0.0/1", "fd00::/64"], ("10.0.0.1", "127.0.0.1"), ("fd00::1", "fd00::2"), True),
        (["128.0.0.0/1", "fd00::/64"], ("192.168.0.1", "192.168.0.2"), ("fd00::1", "fd00::2"), False),
        # Keywords.
        (["primary"], ("192.168.0.1",), ("fd00::1",), False),
        (["localhost"], ("127.0.0.1",), ("::1",), True),
        (["primary", "localhost"], ("127.0.0.1", "192.168.0.1"), ("::1", "fd00::1"), True),
        (["primary", "10.0.0.0/8"], ("10.0.0.1", "192.168.0.1"), ("fd00::1",), False),
        (["primary", "all"], "all", "all", True),
    ],
)
def test_matching(
    values: list[str], matching4: tuple[str, ...] | str, matching6: tuple[str, ...] | str, loopback: bool
) -> None:
    addresses = parse_node_port_addresses(values, NODE_IPS)
    for family, local, expected in ((Family.IPV4, LOCAL4, matching4), (Family.IPV6, LOCAL6, matching6)):
        assert addresses.matches_all(family) is (expected == "all")
        assert addresses.matching(family, local) == (local if expected == "all" else expected)
    assert addresses.contains_ipv4_loopback is loopback


def test_primary_leaves_loopback_out() -> None:
    """A node whose addresses are not known has loopback ones; then no CIDR is left, and that means all."""
    addresses = parse_node_port_addresses(["primary"], UNKNOWN_IPS)
    assert addresses.matches_all(Family.IPV4)
    assert addresses.matches_all(Family.IPV6)
    assert set(addresses.warnings) == {Family.IPV4, Family.IPV6}


@pytest.mark.parametrize(
    ("values", "families"),
    [
        ([], set()),
        (["all"], set()),
        (["primary"], set()),
        (["10.0.0.0/8", "fd00::/8"], set()),
        (["10.0.0.0/8"], {Family.IPV6}),
        (["fd00::/8"], {Family.IPV4}),
    ],
)
def test_a_family_without_cidr_is_warned_of(values: list[str], families: set[Family]) -> None:
    warnings = parse_node_port_addresses(values, NODE_IPS).warnings
    assert set(warnings) == families
    for family, text in warnings.items():
        assert text.startswith("--nodeport-addresses ")
        assert text.endswith(f"on every {family} address")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "10.0.0.1",
        "fd00::1",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "10.0.0.0/255.0.0.0",
        "fe80::1%eth0/64",
        "eth0",
        "PRIMARY",
        "10.0.0.0/8,fd00::/8",
        "10.0.0/8",
        "300.0.0.0/8",
        "10.0.0.0/8\n-A INPUT",
    ],
)
def test_wrong_values_are_named(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_node_port_addresses(["10.0.0.0/8", value], NODE_IPS)
    assert str(caught.value).startswith(f"--nodeport-addresses: {value.strip()!r}")
    assert "\n" not in str(caught.value)
