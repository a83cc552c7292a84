"""Finds out, before anything of a Service is written, whether the kernel has all that the table needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.errors import FeatureMissing, KernelError, PermissionMissing
from kproxy.netlink.nftables.batch import Batch
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables.features import features

if TYPE_CHECKING:
    from kproxy.plan.nftables.transaction import Transaction
    from kproxy.state.addresses import Family

# There as long as the kernel tracks SCTP connections; without that no port of theirs can be translated.
_SCTP = Path("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established")


def probe(family: Family) -> dict[str, str]:
    """Have the kernel check everything; return what is missing but can be done without: only_for -> the reason.

    Nothing is written. Raises `FeatureMissing` naming what kproxy needs, or `PermissionMissing`.
    """
    missing: dict[str, str] = {}
    with NetlinkSocket() as netlink:
        for feature in features(family):
            error = _refusal(netlink, feature.transaction)
            if error is None:
                continue
            if isinstance(error, PermissionMissing):
                raise error
            what = f"nftables in this kernel has no {feature.name} ({family})"
            if not feature.only_for:
                raise FeatureMissing(f"{what}: {error.what}", remedy=f"it takes {feature.provider}")
            missing[feature.only_for] = what
    # The checks above have loaded the connection tracking by now.
    if not _SCTP.exists():
        missing["SCTP"] = "this kernel tracks no SCTP connections (CONFIG_NF_CT_PROTO_SCTP)"
    return missing


def _refusal(netlink: NetlinkSocket, transaction: Transaction) -> KernelError | None:
    batch = Batch(transaction, scrutinise=frozenset())
    for outcome in netlink.batch(batch.requests, in_one_send=True):
        if outcome is not None:
            return outcome
    return None
