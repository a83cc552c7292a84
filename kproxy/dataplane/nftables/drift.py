"""Puts what others do to our tables into words, for the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.netlink.nftables.notifications import describe
from kproxy.plan.nftables.design import NFTABLES, Design
from kproxy.plan.nftables.layout import LayoutOptions
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from kproxy.dataplane.nftables.watch import TableWatch
    from kproxy.state.addresses import Family

LOST = "there were more changes by others than could be told"


class TableDrift:
    """A `kproxy.dataplane.mode.Drift` over the notifications of nf_tables."""

    def __init__(self, watch: TableWatch, design: Design = NFTABLES) -> None:
        self._watch = watch
        self._specs = {
            family: {spec.name: spec for spec in design.base_table(family, LayoutOptions()).sets} for family in FAMILIES
        }

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._watch.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    def read(self) -> dict[Family, list[str]]:
        """Return, in words by family, what others did since the last call. Does not block.

        Where notifications were lost, both families may have changed.
        """
        told: dict[Family, list[str]] = {}
        for transaction in self._watch.changes():
            family = transaction.family
            told.setdefault(family, []).append(describe(transaction, self._specs[family]))
        if self._watch.lost:
            self._watch.lost = False
            for family in FAMILIES:
                told.setdefault(family, []).append(LOST)
        return told
