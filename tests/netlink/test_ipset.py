"""ipset's messages: bytes as the tool sends them, and the real kernel with the tool as the witness."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.dataplane.ipvs.ipsets import has_kube_proxy_sets, read_kube_proxy_sets
from kproxy.netlink import ipset
from kproxy.netlink.errors import MalformedMessage, NetlinkRefused
from kproxy.netlink.ipset import Member
from kproxy.netlink.socket import NetlinkSocket
from kproxy.state.addresses import Family
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Iterator

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the recorded bytes are little endian")
# What Linux 6.18 answers about a set of `ipset create s hash:ip,port` with 10.0.0.1,tcp:80 and 10.0.0.2,sctp:9 in it.
ANSWER = bytes.fromhex("02000000 05000100 06000000 06000200 73000000") + bytes.fromhex(
    "44000880"
    "20000780 0c000180 08000140 0a000001 06000440 00500000 05000700 06000000"
    "20000780 0c000180 08000140 0a000002 06000440 00090000 05000700 84000000"
)


@little_endian
def test_requests_have_the_bytes_that_the_tool_sends() -> None:
    # strace of `ipset destroy KUBE-NODE-PORT-TCP` and `ipset -n list`; that speaks version 7, and marks byte order.
    name = b"KUBE-NODE-PORT-TCP\0\0"
    destroy, names = ipset.destroy("KUBE-NODE-PORT-TCP"), ipset.list_names()
    assert (destroy.type, destroy.flags) == (0x603, 0)
    assert destroy.body == bytes.fromhex("02000000 05000100 06000000 17000200") + name
    assert (names.type, names.flags) == (0x607, 0x300)
    assert names.body == bytes.fromhex("02000000 05000100 06000000 08000600 00000002")


@little_endian
def test_members_are_read() -> None:
    assert ipset.read_name(ANSWER) == "s"
    tcp, sctp = Member(bytes([10, 0, 0, 1]), 6, 80), Member(bytes([10, 0, 0, 2]), 132, 9)
    assert list(ipset.read_members(ANSWER)) == [tcp, sctp]


@given(st.binary(max_size=80), st.integers(0, len(ANSWER)))
def test_any_bytes_are_read_or_refused_as_malformed(noise: bytes, cut: int) -> None:
    for body in (noise, ANSWER[:cut] + noise):
        with contextlib.suppress(MalformedMessage):
            ipset.read_name(body)
            list(ipset.read_members(body))


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        yield made


@pytest.mark.root
def test_what_the_tool_made_is_read(netns: PrivateNetns) -> None:
    netns.tool("ipset", "create", "ports", "bitmap:port", "range", "0-65535")
    netns.tool("ipset", "create", "many", "hash:ip,port", "family", "inet6")
    lines = [f"add many fd00::{n:x},udp:53\n" for n in range(3000)] + ["add ports 80\n", "add ports 30080\n"]
    netns.tool("ipset", "restore", stdin="".join(lines))
    use = ("iptables-nft", "-A", "INPUT", "-m", "set", "--match-set", "ports", "dst", "-j", "ACCEPT")
    with netns.run(NetlinkSocket) as netlink:
        assert {ipset.read_name(message.body) for message in netlink.dump(ipset.list_names())} == {"ports", "many"}
        assert members(netlink, "ports") == [Member(b"", 0, 80), Member(b"", 0, 30080)]
        many = members(netlink, "many")
        assert len(many) == 3000, "in more than one message"
        assert {(len(one.ip), one.protocol, one.port) for one in many} == {(16, 17, 53)}
        with pytest.raises(NetlinkRefused) as caught:
            members(netlink, "none")
        assert caught.value.code == errno.ENOENT
        netns.tool(*use)
        outcomes = netlink.batch([ipset.destroy(name) for name in ("ports", "many", "none")])
        codes = [one and one.code for one in outcomes]
        assert codes[:2] == [ipset.IN_USE, None]
        assert codes[2] in (None, errno.ENOENT)


def members(netlink: NetlinkSocket, name: str) -> list[Member]:
    return [one for message in netlink.dump(ipset.list_members(name)) for one in ipset.read_members(message.body)]


@pytest.mark.root
def test_a_node_without_kube_proxys_sets(netns: PrivateNetns) -> None:
    netns.tool("ipset", "create", "KUBE-OF-MINE", "bitmap:port", "range", "0-65535")
    assert not netns.run(has_kube_proxy_sets)
    assert netns.run(lambda: read_kube_proxy_sets(Family.IPV4)) == (set(), set())
