"""Hands transactions to the kernel, and finds out what was wrong with those that it refuses."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from kproxy.netlink.nftables.batch import Batch
from kproxy.netlink.nftables.faults import GenerationClash, OutcomeUnknown, TransactionRefused
from kproxy.plan.nftables.transaction import AddElements, DeleteElements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.dataplane.nftables.watch import TableWatch
    from kproxy.netlink.errors import NetlinkRefused
    from kproxy.netlink.nftables.faults import Fault
    from kproxy.netlink.socket import NetlinkSocket
    from kproxy.plan.nftables.transaction import Operation, Transaction

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


def commit_watched(
    socket: NetlinkSocket, transaction: Transaction, watch: TableWatch, *, generation: int | None = None
) -> None:
    """Do what `commit` does, known to `watch` as our own doing."""
    elements = sum(_count(operation) for operation in transaction.operations)
    with watch.committing(socket, elements):
        commit(socket, transaction, generation=generation)


def _count(operation: Operation) -> int:
    match operation:
        case AddElements(_, elements):
            return len(elements)
        case DeleteElements(_, keys):
            return len(keys)
    return 0


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
