"""The node's addresses are read again when some changed, and not otherwise; `ip` changes them."""

from __future__ import annotations

import select
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane import address_watch
from kproxy.dataplane.address_watch import AddressWatch
from kproxy.dataplane.addresses import local_addresses
from kproxy.errors import KernelError
from kproxy.state.addresses import Family
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        made.tool("ip", "link", "add", "left", "type", "bridge")
        made.tool("ip", "link", "add", "kube-ipvs0", "type", "bridge")
        yield made


@pytest.fixture
def watch(netns: PrivateNetns) -> Iterator[AddressWatch]:
    made = netns.run(lambda: AddressWatch(["kube-ipvs0"]))
    yield made
    made.close()


def ip(netns: PrivateNetns, line: str) -> None:
    netns.tool("ip", *line.split())


def news(watch: AddressWatch) -> bool:
    """The kernel tells before the tool that made the change has ended."""
    return bool(select.select([watch], [], [], 0)[0])


def test_the_first_look_is_always_needed(netns: PrivateNetns, watch: AddressWatch) -> None:
    assert watch.stale()
    assert netns.run(watch.read) == {Family.IPV4: ("127.0.0.1",), Family.IPV6: ("::1",)}
    assert not watch.stale()


@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6])
def test_an_address_comes_and_goes(netns: PrivateNetns, watch: AddressWatch, family: Family) -> None:
    address = {Family.IPV4: "10.9.0.1/24", Family.IPV6: "fd00:9::1/64"}[family]
    before = netns.run(watch.read)
    assert not news(watch)
    for change, count in (("add", 2), ("del", 1)):
        ip(netns, f"address {change} {address} dev left")
        assert news(watch)
        assert watch.stale()
        assert not news(watch)
        assert watch.stale()
        found = netns.run(watch.read)
        assert len(found[family]) == count
        assert not watch.stale()
    assert found == before


def test_a_link_that_is_left_out_is_no_news(netns: PrivateNetns, watch: AddressWatch) -> None:
    before = netns.run(watch.read)
    ip(netns, "address add 10.96.0.1/32 dev kube-ipvs0")
    assert news(watch)
    assert not netns.run(watch.stale)
    assert netns.run(watch.read) == before


def test_what_was_lost_is_read_again(netns: PrivateNetns, watch: AddressWatch) -> None:
    netns.run(watch.read)
    with socket.fromfd(watch.fileno(), socket.AF_NETLINK, socket.SOCK_RAW) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for number in range(1, 30):
        ip(netns, f"address add 10.96.0.{number}/32 dev kube-ipvs0")
    # All of it would be passed over, if it had come.
    assert netns.run(watch.stale)
    netns.run(watch.read)
    assert not netns.run(watch.stale)


def test_a_read_that_fails_is_made_up_for(
    netns: PrivateNetns, watch: AddressWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*, except_links: Collection[str]) -> None:
        raise KernelError("no")

    netns.run(watch.read)
    ip(netns, "address add 10.9.0.1/24 dev left")
    with monkeypatch.context() as patch:
        patch.setattr(address_watch, "local_addresses", fail)
        with pytest.raises(KernelError):
            netns.run(watch.read)
    assert watch.stale()
    assert "10.9.0.1" in netns.run(watch.read)[Family.IPV4]


def test_a_change_during_the_read_makes_it_stale(
    netns: PrivateNetns, watch: AddressWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*, except_links: Collection[str]) -> dict[Family, tuple[str, ...]]:
        found = local_addresses(except_links=except_links)
        subprocess.run(["ip", "address", "add", "10.9.0.1/24", "dev", "left"], check=True)
        assert watch.stale()  # an event loop takes it up meanwhile
        return found

    monkeypatch.setattr(address_watch, "local_addresses", slow)
    assert "10.9.0.1" not in netns.run(watch.read)[Family.IPV4]
    assert watch.stale()
