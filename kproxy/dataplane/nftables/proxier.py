"""Makes one family's table hold what its ruleset wants."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from kproxy.dataplane.mode import Synced
from kproxy.dataplane.nftables.reader import current_generation, read_set, read_table
from kproxy.dataplane.nftables.ruleset_for import options_for
from kproxy.dataplane.nftables.writer import commit, commit_watched
from kproxy.errors import KernelError, ObjectError
from kproxy.netlink.nftables.faults import TransactionRefused
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables.design import NFTABLES, Design
from kproxy.plan.nftables.ruleset import NftablesRuleset
from kproxy.plan.nftables.transaction import AddElements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kproxy.config import Config
    from kproxy.dataplane.nftables.watch import TableWatch
    from kproxy.plan.intent import PortIntent
    from kproxy.plan.nftables.ruleset import Difference
    from kproxy.plan.nftables.transaction import Transaction
    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo

log = logging.getLogger(__name__)

MAX_LEFT_OUT = 100
"""Services that may be left out because the kernel refuses their elements; beyond that the cause is elsewhere."""

_PIN_ATTEMPTS = 5


class NftablesProxier:
    """The nftables mode of one family. Not for several threads at once.

    `watch` tells of changes by others; families share it.
    """

    def __init__(
        self,
        config: Config,
        family: Family,
        design: Design = NFTABLES,
        *,
        watch: TableWatch | None = None,
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        self.family = family
        self.ruleset = NftablesRuleset(family, design)
        self.refused: dict[str, ObjectError] = {}
        self.unsupported = dict(unsupported or {})
        self.watch = watch
        self.counts_services = config.connection_counters != "none"
        self.counts_endpoints = config.connection_counters == "endpoints"
        self._config = config
        self._netlink: NetlinkSocket | None = None
        self._in_step = False
        self._seen_generation: int | None = None

    def close(self) -> None:
        """Close the socket; the table stays."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def configure(self, node: NodeInfo, addresses: tuple[str, ...], service_cidrs: tuple[str, ...] = ()) -> None:
        """Take over what is known of the node and the cluster, of this family."""
        self.ruleset.configure(options_for(self._config, node, self.family, addresses, service_cidrs))

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int) -> None:
        """Enter, replace or (without intents) remove a Service; the kernel hears of it at the next sync.

        Health check node ports need no rule here: nothing in this table closes them.
        """
        self.refused.pop(key, None)
        self.ruleset.set_service(key, intents)

    def sync(self, *, full: bool = False) -> Synced:
        """Write what differs; after a failure, at the first call, or if `full`, from what the kernel really holds.

        Raises `KernelError`. A Service whose elements the kernel refuses is left out and entered in `refused`.
        """
        full = full or not self._in_step
        self._in_step = False
        with self._kernel() as netlink:
            if full:
                self._read_back(netlink)
            difference = self._write(netlink, surprised=not full)
            self._in_step = True
            swept = self._sweep(netlink)
        deleted = difference.deleted + (swept or 0)
        return Synced(full, difference.summary(), deleted, {}, cleanup_failures=int(swept is None))

    def intact(self) -> bool:
        """Tell whether the kernel still holds what was written, and nothing else in our table. Raises `KernelError`.

        The table is read only if somebody changed nftables, be it us, since it was last found intact; and where `watch`
        tells of changed elements, only its rules are, since a quarter of a million elements take their time. After a
        failed sync there is nothing to tell: the next one reads the table anyway.
        """
        if not self._in_step:
            return True
        with self._kernel() as netlink:
            generation = current_generation(netlink)
            if generation == self._seen_generation:
                return True
            self._seen_generation = None
            if self.watch is not None:
                snapshot = read_table(netlink, self.family, self.ruleset.name, elements=False)
                found = snapshot is not None and self.ruleset.has_all_rules(snapshot.table)
            else:
                self._read_back(netlink)
                found = self.ruleset.difference().empty
            if found:
                self._seen_generation = generation
        return found

    def count_rules(self) -> Mapping[str, int]:
        """Return the number of rules; they hardly depend on the number of Services."""
        return {self.ruleset.name: self.ruleset.count_rules()}

    @contextlib.contextmanager
    def _kernel(self) -> Iterator[NetlinkSocket]:
        """Lend the socket. It stays open, because closing one makes the kernel wait for what it still has to free."""
        netlink = self._netlink or NetlinkSocket()
        self._netlink = None
        try:
            yield netlink
        except BaseException:
            netlink.close()
            raise
        self._netlink = netlink

    def _read_back(self, netlink: NetlinkSocket) -> None:
        snapshot = read_table(netlink, self.family, self.ruleset.name)
        if snapshot is None:
            self.ruleset.read_back(None, {})
        else:
            self.ruleset.read_back(snapshot.table, snapshot.elements)

    def _write(self, netlink: NetlinkSocket, *, surprised: bool) -> Difference:
        """Commit what differs; without the Services that the kernel refuses, if there are such.

        `surprised`: a refusal may mean that somebody changed the table. It is read first, then, before any Service is
        held to be at fault.
        """
        while True:
            difference = self.ruleset.difference()
            if difference.empty:
                self.ruleset.applied(difference)  # what was read back need not be compared again
                return difference
            try:
                self._commit(netlink, difference)
            except TransactionRefused as refused:
                if surprised:
                    surprised = False
                    log.warning("%s: somebody changed the table: %s", self.family, refused)
                    self._read_back(netlink)
                elif not self._leave_out(refused):
                    refused.while_writing = True
                    raise
                continue
            except KernelError as error:
                error.while_writing = True
                raise
            return difference

    def _commit(self, netlink: NetlinkSocket, difference: Difference) -> None:
        """Commit a difference, and with it the end of the pins that lead to what it takes away."""
        stale = self._stale_pins(netlink) if difference.loses_pins else []
        if not (stale and self._committed_with_pins(netlink, difference, stale)):
            self._hand_over(netlink, difference.transaction)
        self.ruleset.applied(difference)
        if difference.loses_pins:
            self._remove_pins(netlink)

    def _hand_over(self, netlink: NetlinkSocket, transaction: Transaction) -> None:
        if self.watch is None:
            commit(netlink, transaction)
        else:
            commit_watched(netlink, transaction, self.watch)

    def _committed_with_pins(self, netlink: NetlinkSocket, difference: Difference, stale: list[bytes]) -> bool:
        """Commit, pins included; False if that failed because one of them has expired meanwhile."""
        deletion = self.ruleset.delete_pins(stale).operations
        operations = (*difference.transaction.operations, *deletion)
        try:
            self._hand_over(netlink, msgspec.structs.replace(difference.transaction, operations=operations))
        except TransactionRefused as refused:
            if any(fault.operation not in deletion for fault in refused.faults):
                raise
            return False
        return True

    def _leave_out(self, refused: TransactionRefused) -> bool:
        """Leave the Services out whose elements the kernel refused; False if it was not about any."""
        owners = {}
        for fault in refused.faults:
            if isinstance(fault.operation, AddElements) and fault.key is not None:
                owners[self.ruleset.owner_of(fault.operation.spec.name, fault.key)] = fault.refusal
        owners.pop(None, None)
        if not owners or len(self.refused) + len(owners) > MAX_LEFT_OUT:
            return False
        for key, refusal in owners.items():
            assert key is not None
            self.ruleset.set_service(key, ())
            self.refused[key] = ObjectError(f"Service {key}", "", f"{refusal.what}; skipped")
        return True

    def _remove_pins(self, netlink: NetlinkSocket) -> None:
        """Look again: a connection that was under way during the commit may have been remembered after it."""
        for _ in range(_PIN_ATTEMPTS):
            stale = self._stale_pins(netlink)
            if not stale:
                break
            with contextlib.suppress(TransactionRefused):  # one has expired meanwhile: look again
                self._hand_over(netlink, self.ruleset.delete_pins(stale))
        self.ruleset.pins_removed()

    def _stale_pins(self, netlink: NetlinkSocket) -> list[bytes]:
        return self.ruleset.stale_pins(read_set(netlink, self.family, self.ruleset.name, self.ruleset.pins))

    def _sweep(self, netlink: NetlinkSocket) -> int | None:
        """Delete chains that nobody uses; return how many, or None if that has to wait for the next sync."""
        transaction, chains = self.ruleset.sweep()
        if not chains:
            return 0
        try:
            self._hand_over(netlink, transaction)
        except TransactionRefused as refused:
            log.debug("%s: chains that nobody uses can't be deleted yet: %s", self.family, refused)
            return None
        self.ruleset.swept(chains)
        return len(chains)
