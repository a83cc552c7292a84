"""An iptables tool over the fake kernel: each table is taken as a whole or not at all, and lines can be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dataplane.iptables.binaries import Binaries
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.errors import KernelError, RestoreRefused
from kproxy.plan.iptables.restore import parse_save
from kproxy.state.addresses import Family
from tests.plan.iptables.kernel import FakeKernel, Refused

if TYPE_CHECKING:
    from kproxy.plan.iptables.restore import Restore, SavedTable


class FakeTool(IptablesTool):
    """`fail_next` is raised by the next call, whatever it is. `names_line`: the line at fault is told, as nft does."""

    def __init__(self, family: Family = Family.IPV4, *, names_line: bool = True) -> None:
        super().__init__(Binaries(family, "nft", "iptables", "iptables-restore", "iptables-save"))
        self.kernel = FakeKernel()
        self.fail_next: KernelError | None = None
        self.names_line = names_line
        self.restores: list[Restore] = []

    def restore(self, restore: Restore) -> None:
        self._fail()
        self.restores.append(restore)
        try:
            self.kernel.restore(restore.lines)
        except Refused as refused:
            line = refused.line if self.names_line else None
            raise RestoreRefused(f"iptables-restore: {refused.what}", line=line) from None

    def save(self) -> dict[str, SavedTable]:
        self._fail()
        return parse_save(self.kernel.save())

    def has_chain(self, table: str, chain: str) -> bool:
        self._fail()
        return chain in self.kernel.tables[table]

    def rules_of(self, table: str, chain: str) -> list[str]:
        self._fail()
        return list(self.kernel.tables[table].get(chain, ()))

    def _fail(self) -> None:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
