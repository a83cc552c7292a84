"""Links and addresses through the real kernel, with `ip` as the witness."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.addresses import list_addresses
from kproxy.netlink import route
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.state.addresses import Family
from tests.netlink.netns import PrivateNetns
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.skipif(sys.byteorder != "little", reason="the recorded bytes are little endian")
def test_an_address_has_the_bytes_that_ip_sends() -> None:
    # strace of `ip address add 10.96.0.10/32 dev dummy0` (index 5): ifaddrmsg, IFA_LOCAL, IFA_ADDRESS
    request = route.add_address(5, "10.96.0.10")
    assert (request.type, request.flags) == (20, 0x600)
    assert request.body == bytes.fromhex("02200000 05000000 08000200 0a60000a 08000100 0a60000a")


@pytest.fixture
def kernel() -> Iterator[tuple[PrivateNetns, NetlinkSocket]]:
    with PrivateNetns() as netns:
        netlink = netns.run(lambda: NetlinkSocket(route.NETLINK_ROUTE))
        yield netns, netlink
        netlink.close()


@pytest.mark.root
@pytest.mark.parametrize("kind", ["bridge", pytest.param("dummy", marks=[pytest.mark.uml, needs_ipvs])])
def test_addresses_come_and_go(kernel: tuple[PrivateNetns, NetlinkSocket], kind: str) -> None:
    netns, netlink = kernel
    netns.tool("ip", "link", "add", "vips", "type", kind)
    link = route.read_link(netlink.request(route.find_link("vips"))[0].body)
    ips = {Family.IPV4: {"10.96.0.1", "10.96.0.2"}, Family.IPV6: {"fd00::1", "fd00::2"}}
    every = [ip for both in ips.values() for ip in both]
    raise_refusals(netlink.batch([route.add_address(link, ip) for ip in every]))
    for family, wanted in ips.items():
        assert {address.ip for address in list_addresses(netlink, family, link)} == wanted
    shown = netns.tool("ip", "-o", "address", "show", "dev", "vips")
    assert "10.96.0.1/32" in shown
    assert "fd00::1/128 scope global nodad deprecated" in shown
    again, gone = route.add_address(link, "fd00::1"), route.delete_address(link, "10.96.0.9")
    assert [one.code for one in netlink.batch([again, gone]) if one] == [errno.EEXIST, errno.EADDRNOTAVAIL]
    raise_refusals(netlink.batch([route.delete_address(link, ip) for ip in every]))
    assert [one.ip for family in Family for one in list_addresses(netlink, family, link)] == []


@pytest.mark.root
def test_only_the_link_that_was_asked_for_is_listed(kernel: tuple[PrivateNetns, NetlinkSocket]) -> None:
    netns, netlink = kernel
    netns.tool("ip", "link", "add", "vips", "type", "bridge")
    netns.tool("ip", "address", "add", "10.96.0.1/32", "dev", "vips")
    listed = list(netlink.dump(route.dump_request(Family.IPV4, 1)))
    assert [address.ip for address in map(route.read_address, listed) if address] == ["127.0.0.1"]


@pytest.mark.root
@pytest.mark.uml
@needs_ipvs
def test_a_dummy_link_comes_and_goes(kernel: tuple[PrivateNetns, NetlinkSocket]) -> None:
    netns, netlink = kernel
    raise_refusals(netlink.batch([route.add_dummy("kube-ipvs0")]))
    assert "dummy" in netns.tool("ip", "-d", "link", "show", "kube-ipvs0")
    assert [one.code for one in netlink.batch([route.add_dummy("kube-ipvs0")]) if one] == [errno.EEXIST]
    link = route.read_link(netlink.request(route.find_link("kube-ipvs0"))[0].body)
    raise_refusals(netlink.batch([route.delete_link(link, "kube-ipvs0")]))
    assert [one.code for one in netlink.batch([route.delete_link(link, "kube-ipvs0")]) if one] == [errno.ENODEV]
