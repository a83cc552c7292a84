"""Hands transactions to the kernel, and finds out what was wrong with those that it refuses."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kproxy.netlink.nftables.batch import Batch
from kproxy.netlink.nftables.faults import GenerationClash, OutcomeUnknown, TransactionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.netlink.errors import NetlinkRefused
    from kproxy.netlink.nftables.faults import Fault
    from kproxy.netlink.socket import NetlinkSocket
    from kproxy.plan.nftables.transaction import Transaction

_AGAIN = frozenset({errno.EINTR, errno.EAGAIN})
_ATTEMPTS = 5


def commit(socket: NetlinkSocket, transaction: Transaction, *, generation: int | None = None) -> None:
    """Apply a transaction whole or not at all.

    With `generation`, as `read_table` returns it, only if nobody has changed nftables since: else `GenerationClash`.
    Raises `TransactionRefused`, `OutcomeUnknown`, and `KernelError` where the socket fails.
    """
    for attempt in range(_ATTEMPTS):
        batch = Batch(transaction, generation=generation)
        outcomes = socket.batch(batch.requests, in_one_send=True)
        codes = {refusal.code for refusal in outcomes if refusal is not None}
        if not codes:
            return
        if errno.ENOBUFS in codes:
            raise OutcomeUnknown
        if errno.ERESTART in codes:
            raise GenerationClash
        if not codes <= _AGAIN or attempt == _ATTEMPTS - 1:
            raise TransactionRefused(_name_elements(socket, transaction, batch, outcomes))


def _name_elements(
    socket: NetlinkSocket, transaction: Transaction, batch: Batch, outcomes: Sequence[NetlinkRefused | None]
) -> list[Fault]:
    """Return the faults with the elements named; the kernel checks those that were refused together one by one."""
    faults = batch.faults(outcomes)
    vague = batch.vague(outcomes)
    if not vague:
        return faults
    closer = Batch(transaction, scrutinise=vague)
    # Without any now: somebody changed the table meanwhile, and what was found first is all there is to tell.
    return closer.faults(socket.batch(closer.requests, in_one_send=True)) or faults
