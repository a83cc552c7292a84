"""What the kernel can have against a transaction.

The tree, below `kproxy.errors.KernelError`. Nothing of the transaction is in the kernel then, but for the last::

    KernelError
    ├── TransactionRefused    operations or elements that it refuses, named one by one
    ├── GenerationClash       somebody else changed nftables since the generation that was asked for
    └── OutcomeUnknown        its answers were lost: read the table to know
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.netlink.errors import NetlinkRefused
    from kproxy.plan.nftables.transaction import Operation


class Fault(msgspec.Struct, frozen=True):
    """One operation that the kernel refused, or with `key` one element of it."""

    operation: Operation | None
    """None: the transaction as a whole."""
    key: bytes | None
    """None: the operation has no elements, or it is not known which one."""
    refusal: NetlinkRefused


class TransactionRefused(KernelError):
    """The kernel refused a transaction. `faults` says everything that it found, in order."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0].refusal.what}{others}", remedy=faults[0].refusal.remedy)


class GenerationClash(KernelError):
    """Somebody else changed nftables meanwhile: read the table again, and decide again."""

    def __init__(self) -> None:
        super().__init__("nftables was changed by another program in the same moment")


class OutcomeUnknown(KernelError):
    """The kernel's answers to a transaction were lost (ENOBUFS), so that it may or may not have been applied."""

    def __init__(self) -> None:
        super().__init__("the kernel's answers to an nftables transaction were lost")
