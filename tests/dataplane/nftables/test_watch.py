"""The watch on a real kernel: foreign changes wake it, our own and the packet path's do not."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.nftables.reader import read_set
from kproxy.dataplane.nftables.watch import TableWatch
from kproxy.dataplane.nftables.writer import commit, commit_watched
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables.expressions import Dynset, load_address
from kproxy.plan.nftables.model import IP_SADDR, Chain, Hook, Rule, SetSpec
from kproxy.plan.nftables.transaction import AddChain, AddElements, AddSet, AddTable, Operation, Transaction
from kproxy.state.addresses import Family
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.netlink.nftables.notifications import ForeignTransaction

pytestmark = pytest.mark.root

ADDRESSES = SetSpec("addresses", (IP_SADDR,))
SEEN = SetSpec("seen", (IP_SADDR,), dynamic=True, timeout_ms=0, size=100)


class Watched:
    """A table in a namespace, a watch on it, and two sockets of ours."""

    def __init__(self, netns: PrivateNetns) -> None:
        self.netns = netns
        self.sockets = [netns.run(NetlinkSocket) for _ in range(2)]
        self.watch = netns.run(lambda: TableWatch("kproxy"))
        rule = Rule((load_address(Family.IPV4, "saddr", 0), Dynset("seen", 0, timeout_ms=60_000)))
        output = Chain("output", (rule,), Hook("filter", "output", 0))
        self.commit(AddTable(), AddSet(ADDRESSES), AddSet(SEEN), AddChain(output))

    def commit(self, *operations: Operation, socket: int = 0) -> None:
        transaction = Transaction(Family.IPV4, "kproxy", operations)
        self.netns.run(lambda: commit_watched(self.sockets[socket], transaction, self.watch))

    def nft(self, command: str) -> None:
        self.netns.tool("nft", command)

    def awake(self) -> bool:
        """Notifications are queued before the sender's system call returns, so there is nothing to wait for."""
        return bool(select.select([self.watch], [], [], 0)[0])

    def told(self) -> list[ForeignTransaction]:
        assert self.awake()
        return self.watch.changes()


@pytest.fixture
def watched() -> Iterator[Watched]:
    with PrivateNetns() as netns:
        watched = Watched(netns)
        yield watched
        watched.watch.close()
        for socket in watched.sockets:
            socket.close()


def test_our_own_transactions_do_not_wake_it(watched: Watched) -> None:
    watched.commit(AddElements(ADDRESSES, {bytes([10, 0, 0, 1]): b""}))
    watched.commit(AddElements(ADDRESSES, {bytes([10, 0, 0, 2]): b""}), socket=1)
    assert not watched.awake()


def test_a_large_one_of_ours_does_not_either_and_nothing_is_lost(watched: Watched) -> None:
    watched.commit(AddElements(ADDRESSES, {number.to_bytes(4): b"" for number in range(1, 5000)}))
    assert not watched.awake()
    assert not watched.watch.lost
    watched.nft("delete element ip kproxy addresses { 0.0.0.7 }")
    assert watched.told()


def test_a_foreign_change_during_a_large_one_of_ours_is_a_loss(watched: Watched) -> None:
    def both() -> None:
        with watched.watch.committing(watched.sockets[0], 5000):
            commit(watched.sockets[0], Transaction(Family.IPV4, "kproxy", (AddElements(ADDRESSES, {bytes(4): b""}),)))
            commit(watched.sockets[1], Transaction(Family.IPV4, "kproxy", (AddChain(Chain("foreign")),)))

    watched.netns.run(both)
    assert watched.watch.lost


def test_who_did_what(watched: Watched) -> None:
    watched.commit(AddElements(ADDRESSES, {bytes([10, 0, 0, number]): b"" for number in range(5)}))
    watched.nft("delete element ip kproxy addresses { 10.0.0.1, 10.0.0.2 }")
    [found] = watched.told()
    [change] = found.changes
    assert (found.family, found.process) == (Family.IPV4, "nft")
    assert found.pid > 0
    assert (change.verb, change.what, change.name, change.count) == ("deleted", "elements", "addresses", 2)
    assert sorted(change.keys) == [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])]
    watched.nft("flush chain ip kproxy output")
    [found] = watched.told()
    assert [(change.verb, change.what, change.name) for change in found.changes] == [("deleted", "rules", "output")]
    watched.nft("flush ruleset")
    [found] = watched.told()
    assert ("deleted", "table", "") in {(change.verb, change.what, change.name) for change in found.changes}
    assert not watched.awake()


def test_other_tables_are_not_told(watched: Watched) -> None:
    watched.nft("add table ip6 other")
    assert watched.told() == []


def test_what_rules_learn_from_packets_does_not_wake_it(watched: Watched) -> None:
    send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))"
    watched.netns.tool(sys.executable, "-c", send)
    seen = watched.netns.run(lambda: read_set(watched.sockets[0], Family.IPV4, "kproxy", SEEN))
    assert bytes([127, 0, 0, 1]) in seen
    assert not watched.awake()


def test_more_than_it_has_room_for_is_a_loss(watched: Watched) -> None:
    watch = watched.netns.run(lambda: TableWatch("kproxy", room=1 << 16))
    elements = AddElements(ADDRESSES, {number.to_bytes(4): b"" for number in range(1, 3000)})
    with watched.netns.run(NetlinkSocket) as foreign:
        watched.netns.run(lambda: commit(foreign, Transaction(Family.IPV4, "kproxy", (elements,))))
    while watch.changes():
        pass
    watch.close()
    assert watch.lost
