"""What the agent asks of a mode, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kproxy.errors import ObjectError
    from kproxy.plan.intent import PortIntent
    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo


class Synced(NamedTuple):
    """What a sync did. `full`: everything was written anew. `written` and `deleted` say what, for the log."""

    full: bool
    written: str
    deleted: int
    rules_written: Mapping[str, int]
    """By table, where the mode has rules."""
    cleanup_failures: int = 0
    """What nobody needs any more, and could not be deleted yet."""

    @property
    def changed_anything(self) -> bool:
        """Tell whether the kernel was touched at all."""
        return bool(self.written or self.deleted)


class Proxier(Protocol):
    """One mode in one family. Its methods are for one thread at a time."""

    @property
    def family(self) -> Family:
        """The family it serves."""

    @property
    def refused(self) -> Mapping[str, ObjectError]:
        """Services that were left out because the kernel refused them, with the reason."""

    @property
    def unsupported(self) -> Mapping[str, str]:
        """What this kernel can't do ("SCTP", "session affinity"), with the reason."""

    def configure(self, node: NodeInfo, addresses: tuple[str, ...], service_cidrs: tuple[str, ...] = ()) -> None:
        """Take over what is known of the node.

        `addresses` are its local ones, `service_cidrs` the ranges of the cluster's clusterIPs, of this family.
        """

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int) -> None:
        """Enter, replace or (without intents) remove a Service; the kernel hears of it at the next sync."""

    def sync(self, *, full: bool = False) -> Synced:
        """Make the kernel hold what is wanted. Raises `KernelError`."""

    def intact(self) -> bool:
        """Tell whether nobody removed what was written. Raises `KernelError`."""

    def count_rules(self) -> Mapping[str, int]:
        """Return the number of rules owned, by table."""


class Drift(Protocol):
    """Tells what somebody else did to the rules, where the kernel says so by itself."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there may be something to tell."""

    def read(self) -> Mapping[Family, Sequence[str]]:
        """Return, in words by family, what was done since the last call. Does not block."""

    def close(self) -> None:
        """Stop listening."""
