"""The node's addresses, read in a network namespace of its own; `ip` sets them."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.addresses import local_addresses
from kproxy.errors import KernelError
from kproxy.state.addresses import Family
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        yield made


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def ip(netns: PrivateNetns, *lines: str) -> None:
    for line in lines:
        netns.tool("ip", *line.split())


def test_only_loopback(netns: PrivateNetns) -> None:
    assert netns.run(local_addresses) == {Family.IPV4: ("127.0.0.1",), Family.IPV6: ("::1",)}


def test_all_links_both_families(netns: PrivateNetns) -> None:
    ip(
        netns,
        "link add left type veth peer name right",
        "link set left up",
        "link set right up",
        "address add 10.9.0.10/24 dev left",
        "address add 10.9.0.9/24 dev left",
        "address add 10.9.0.9/24 dev right",
        "address add 169.254.20.10/32 dev lo",
        "address add fd00:9::a/64 dev left nodad",
        "address add fd00:9::9/64 dev right nodad",
    )
    # Each once, in numerical order; the link-local addresses that the links gave themselves are not among them.
    assert "fe80::" in netns.tool("ip", "-6", "address", "show")
    assert netns.run(local_addresses) == {
        Family.IPV4: ("10.9.0.9", "10.9.0.10", "127.0.0.1", "169.254.20.10"),
        Family.IPV6: ("::1", "fd00:9::9", "fd00:9::a"),
    }


def test_point_to_point_gives_the_own_end(netns: PrivateNetns) -> None:
    ip(
        netns,
        "link add left type veth peer name right",
        "address add 10.9.0.1 peer 10.9.0.2/32 dev left",
        "address add fd00:9::1 peer fd00:9::2/128 dev left nodad",
    )
    assert netns.run(local_addresses) == {Family.IPV4: ("10.9.0.1", "127.0.0.1"), Family.IPV6: ("::1", "fd00:9::1")}


def test_links_can_be_left_out(netns: PrivateNetns) -> None:
    ip(
        netns,
        "link add kube-ipvs0 type bridge",
        "address add 10.96.0.1/32 dev kube-ipvs0",
        "link add other type bridge",
        "address add 10.9.0.1/32 dev other",
    )
    assert netns.run(lambda: local_addresses(except_links=["kube-ipvs0", "absent"]))[Family.IPV4] == (
        "10.9.0.1",
        "127.0.0.1",
    )


def test_an_address_of_another_host_does_not_count(netns: PrivateNetns) -> None:
    """The other host is the other end of the cable: duplicate detection fails on this one."""
    ip(
        netns,
        "link add left type veth peer name right",
        "link set left up",
        "link set right up",
        "address add fd00:9::1/64 dev left nodad",
        "address add fd00:9::1/64 dev right",
    )
    wait_until(lambda: "dadfailed" in netns.tool("ip", "-6", "address", "show", "dev", "right"))
    ip(netns, "address del fd00:9::1/64 dev left")
    assert "fd00:9::1" in netns.tool("ip", "-6", "address", "show", "dev", "right")
    assert netns.run(local_addresses)[Family.IPV6] == ("::1",)


def test_an_address_under_detection_counts(netns: PrivateNetns) -> None:
    # Without carrier detection does not even start, so the address stays tentative.
    ip(
        netns,
        "link add left type veth peer name right",
        "link set left up",
        "address add fd00:9::1/64 dev left",
    )
    assert "tentative" in netns.tool("ip", "-6", "address", "show", "dev", "left")
    assert netns.run(local_addresses)[Family.IPV6] == ("::1", "fd00:9::1")


def test_links_that_can_not_be_listed(netns: PrivateNetns, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the process has no file descriptor left."""

    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "if_nameindex", fail)
    with pytest.raises(KernelError, match="list the links of this node: Too many open files"):
        netns.run(local_addresses)
