"""The whole table of one family: Services in, one transaction out that makes the kernel hold what is wanted.

A changed Service costs what it adds itself, whatever the number of the others: its frontends are a few elements, its
endpoints fill slots, and the chains they go to are shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.delta import DeltaTracker
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.affinity import Stickiness, stale_pins
from kproxy.plan.nftables.contents import Changes, Contents
from kproxy.plan.nftables.design import NFTABLES, Design
from kproxy.plan.nftables.layout import LayoutOptions
from kproxy.plan.nftables.model import Chain, Table
from kproxy.plan.nftables.packing import pack_ip
from kproxy.plan.nftables.shapes import chains_of
from kproxy.plan.nftables.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteTable,
    FlushChain,
    Operation,
    Transaction,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.nftables.model import SetSpec
    from kproxy.state.addresses import Family


class RulesetOptions(msgspec.Struct, frozen=True):
    """Settings of one family: those that shape chains, the node's address, and those that serve node ports."""

    layout: LayoutOptions = LayoutOptions()
    node_ip: str = ""
    node_port_ips: tuple[str, ...] = ()


class Difference(msgspec.Struct):
    """What has to be done. Pass it to `applied` when it has been."""

    transaction: Transaction
    chains: dict[str, Chain]
    elements: Changes
    loses_pins: bool

    @property
    def empty(self) -> bool:
        """There is nothing to do."""
        return not self.transaction.operations

    @property
    def deleted(self) -> int:
        """How many elements go, those included that come back with another value."""
        return sum(len(op.keys) for op in self.transaction.operations if isinstance(op, DeleteElements))

    def summary(self) -> str:
        """Return what is written, in words; empty if nothing is."""
        added = sum(len(op.elements) for op in self.transaction.operations if isinstance(op, AddElements))
        parts = [f"{len(self.chains)} chains" if self.chains else "", f"{added} elements" if added else ""]
        return " and ".join(part for part in parts if part)


class NftablesRuleset:
    """Desired table of one family, and the difference to what the kernel holds."""

    def __init__(self, family: Family, design: Design = NFTABLES) -> None:
        self.family = family
        self._design = design
        self._options = RulesetOptions()
        self._base = design.base_table(family, self._options.layout)
        self._specs = {spec.name: spec for spec in self._base.sets}
        self._contents = Contents(family, design, self._specs)
        self._layout_changed = True
        self._table_held = False
        self._replace = False
        self._chains: DeltaTracker[str, Chain] = DeltaTracker()
        self._reset_stickiness()

    @property
    def name(self) -> str:
        """The table's name."""
        return self._base.name

    @property
    def pins(self) -> SetSpec:
        """The map in which the kernel remembers clients."""
        return self._specs[layout.AFFINITY]

    def configure(self, options: RulesetOptions) -> None:
        """Set what does not depend on Services. Elements are planned again only if the node's address changed."""
        old, self._options = self._options, options
        if options.layout != old.layout:
            self._base = self._design.base_table(self.family, options.layout)
            self._layout_changed = True
        if options.node_ip != old.node_ip:
            self._contents.plan_all()
        for ip in {*old.node_port_ips, *options.node_port_ips}:
            self.set_element(layout.NODE_PORT_IPS, pack_ip(ip), wanted=ip in options.node_port_ips)

    def set_element(self, name: str, key: bytes, *, wanted: bool) -> None:
        """Enter or remove an element of a set that no Service has a part in."""
        self._contents.set_element(name, key, wanted=wanted)

    def set_service(self, key: str, intents: Iterable[PortIntent]) -> None:
        """Enter or replace one Service ("namespace/name"); without intents it goes."""
        self._contents.set_service(key, intents)

    def difference(self) -> Difference:
        """Return the transaction that makes the kernel hold what is wanted.

        Chains that nobody needs any more are left: see `sweep`.
        """
        self._plan()
        updates = self._chains.updates()
        # In the order in which they were planned: those first that others go to.
        chains = {name: chain for name, chain in self._chains.desired.items() if name in updates}
        elements = self._contents.changes()
        operations: list[Operation] = []
        if not self._table_held:
            operations += self._make_table()
        held = self._chains.actual
        operations += [AddChain(chain) for name, chain in chains.items() if name not in held]
        for name, chain in chains.items():
            if name in held:
                operations.append(FlushChain(name))
                operations += [AddRule(name, rule) for rule in chain.rules]
        loses = [sticky.note_losses() for sticky in self._sticky.values()]
        loses.append(any(elements[name][1] for name in (layout.AFFINITY_SERVICES, layout.AFFINITY_NODE_PORTS)))
        operations += self._contents.operations(elements)
        transaction = Transaction(self.family, self.name, tuple(operations))
        return Difference(transaction, chains, elements, self._table_held and any(loses))

    def applied(self, difference: Difference) -> None:
        """Record that a difference is in the kernel."""
        self._table_held, self._replace = True, False
        self._chains.applied(difference.chains, ())
        self._contents.applied(difference.elements)

    def stale_pins(self, pins: Mapping[bytes, bytes]) -> list[bytes]:
        """Return the keys of those of the kernel's pins (`affinity`) that the last difference, or any before, ends."""
        services, node_ports = self._sticky[layout.ENDPOINTS], self._sticky[layout.NODE_PORT_ENDPOINTS]
        return stale_pins(pins, services, node_ports, self.family.bits // 8)

    def pins_removed(self) -> None:
        """Record that no pin leads to what a frontend lost."""
        self._reset_stickiness()

    def delete_pins(self, keys: Iterable[bytes]) -> Transaction:
        """Return the transaction that deletes pins."""
        deletion = DeleteElements(self._specs[layout.AFFINITY], list(keys))
        return Transaction(self.family, self.name, (deletion,))

    def sweep(self) -> tuple[Transaction, list[str]]:
        """Return the transaction that deletes the chains that nobody goes to, and their names.

        It comes after the one that took the last element away: kernels before 6.2 hold on to a chain for a moment.
        """
        stale = self._chains.deletions()
        operations: list[Operation] = [FlushChain(name) for name in stale]
        operations += [DeleteChain(name) for name in stale]
        return Transaction(self.family, self.name, tuple(operations)), stale

    def swept(self, chains: Iterable[str]) -> None:
        """Record that chains were deleted."""
        self._chains.applied({}, chains)

    def read_back(self, table: Table | None, elements: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Believe that the kernel holds exactly this table (None: none) with these elements, by set.

        A table of another layout is replaced as a whole by the next difference.
        """
        ours = table is not None and self._is_ours(table)
        self._table_held = ours
        self._replace = table is not None and not ours
        chains = table.chains if table is not None and ours else ()
        self._chains.replace_actual({chain.name: chain for chain in chains})
        self._contents.read_back(elements if ours else {})

    def has_all_rules(self, table: Table) -> bool:
        """Tell whether a table has our sets and hooks, and all chains and rules that are wanted."""
        chains = {chain.name: chain for chain in table.chains}
        return self._is_ours(table) and all(chains.get(name) == chain for name, chain in self._chains.desired.items())

    def table(self) -> Table:
        """Return the whole wanted table, as of the last difference."""
        chains = tuple(self._chains.desired.values())
        return Table(self.family, self.name, self._base.sets, chains, self._base.comment)

    def elements(self) -> dict[str, dict[bytes, bytes]]:
        """Return all wanted elements by set, as of the last difference; pins are the kernel's own."""
        return self._contents.elements()

    def count_rules(self) -> int:
        """Return the number of rules."""
        return sum(len(chain.rules) for chain in self._chains.desired.values())

    def owner_of(self, name: str, key: bytes) -> str | None:
        """Return the Service that an element of a set comes from; None if it is not one Service's."""
        return self._contents.owner_of(name, key)

    def _plan(self) -> None:
        if self._contents.plan(self._options.node_ip) or self._layout_changed:
            self._layout_changed = False
            self._plan_chains()

    def _plan_chains(self) -> None:
        wanted = {chain.name: chain for chain in self._base.chains}
        for shape in self._contents.shapes:
            for chain in chains_of(shape, self.family, self._options.layout):
                wanted.setdefault(chain.name, chain)
        for name in self._chains.desired.keys() - wanted.keys():
            self._chains.unwant(name)
        for name, chain in wanted.items():
            if self._chains.desired.get(name) != chain:
                self._chains.want(name, chain)

    def _make_table(self) -> Iterator[Operation]:
        yield AddTable(self._base.comment)
        if self._replace:
            yield DeleteTable()
            yield AddTable(self._base.comment)
        for spec in self._base.sets:
            yield AddSet(spec)

    def _is_ours(self, table: Table) -> bool:
        """Tell whether a table has our sets and hooks, so that what is in them can be compared one by one."""
        if table.comment != self._base.comment or set(table.sets) != set(self._base.sets):
            return False
        hooks = {chain.name: chain.hook for chain in table.chains}
        wanted = {chain.name: chain.hook for chain in self._base.chains}
        return all(hooks[name] == wanted.get(name) for name in hooks)

    def _reset_stickiness(self) -> None:
        trackers = self._contents.trackers
        learners = {
            layout.ENDPOINTS: trackers[layout.AFFINITY_SERVICES],
            layout.NODE_PORT_ENDPOINTS: trackers[layout.AFFINITY_NODE_PORTS],
        }
        self._sticky = {
            name: Stickiness(tracker.desired.keys(), self._contents.slots[name]) for name, tracker in learners.items()
        }
