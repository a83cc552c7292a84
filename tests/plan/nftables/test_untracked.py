"""The table that keeps DNS untracked: the kernel takes it, and nft reads what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.nftables.writer import commit
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables import untracked
from kproxy.state.addresses import FAMILIES, Family
from tests.lab import Namespace, Run

if TYPE_CHECKING:
    from kproxy.plan.nftables.transaction import Transaction

pytestmark = pytest.mark.root

ADDRESSES = {Family.IPV4: [("169.254.20.10", 53)], Family.IPV6: [("fd00:20::10", 53)]}


def apply(namespace: Namespace, transaction: Transaction) -> None:
    def work() -> None:
        with NetlinkSocket() as netlink:
            commit(netlink, transaction)

    namespace.call(work)


@pytest.mark.parametrize("family", FAMILIES)
def test_served_withdrawn_removed(family: Family) -> None:
    word = "ip" if family is Family.IPV4 else "ip6"
    with Run() as run:
        node = Namespace(run, "node")
        for _ in range(2):  # the second time it is there already
            apply(node, untracked.serve(family, ADDRESSES[family]))
            listed = node.run("nft", "list", "table", word, untracked.TABLE)
            assert f"{word} daddr . meta l4proto . th dport @served notrack" in listed
            assert f"{word} saddr . meta l4proto . th sport @served notrack" in listed
            assert f"{ADDRESSES[family][0][0]} . tcp . 53" in listed
            assert f"{ADDRESSES[family][0][0]} . udp . 53" in listed
            assert "priority raw" in listed
        apply(node, untracked.withdraw(family))
        assert "elements" not in node.run("nft", "list", "table", word, untracked.TABLE)
        for _ in range(2):
            apply(node, untracked.remove(family))
            assert untracked.TABLE not in node.run("nft", "list", "tables")
