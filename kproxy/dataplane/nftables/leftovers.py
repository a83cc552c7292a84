"""Removes whole tables: kproxy's own, and kube-proxy's."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kproxy.dataplane.nftables.writer import commit
from kproxy.netlink.errors import NetlinkRefused
from kproxy.netlink.nftables.faults import TransactionRefused
from kproxy.netlink.nftables.listing import TableListing
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables.model import FAMILY_WORDS
from kproxy.plan.nftables.transaction import DeleteTable, Transaction
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.state.addresses import Family

KUBE_PROXY = "kube-proxy"
"""The table of kube-proxy's nftables mode, in each family."""


def remove_tables(names: Iterable[str]) -> list[str]:
    """Remove the tables with these names, of either family, that there are; return them in nft's words.

    Raises `KernelError`.
    """
    with NetlinkSocket() as netlink:
        return [
            f"table {FAMILY_WORDS[family]} {name}"
            for name in names
            for family in FAMILIES
            if _exists(netlink, family, name) and _remove(netlink, family, name)
        ]


def _exists(netlink: NetlinkSocket, family: Family, name: str) -> bool:
    try:
        netlink.request(TableListing(family, name).table_request())
    except NetlinkRefused as refusal:
        # EINVAL: this kernel has no nf_tables at all.
        if refusal.code in (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True


def _remove(netlink: NetlinkSocket, family: Family, name: str) -> bool:
    try:
        commit(netlink, Transaction(family, name, (DeleteTable(),)))
    except TransactionRefused as refused:
        if refused.faults[0].refusal.code == errno.ENOENT:
            return False  # somebody was faster
        raise
    return True
