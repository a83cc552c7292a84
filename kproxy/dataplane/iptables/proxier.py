"""Makes one family's iptables hold what its ruleset wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dataplane.iptables import ruleset_for
from kproxy.dataplane.mode import Synced
from kproxy.errors import ObjectError, RestoreRefused
from kproxy.plan.iptables.restore import SavedTable, missing_jumps
from kproxy.plan.iptables.skeleton import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.config import Config
    from kproxy.dataplane.iptables.tool import IptablesTool
    from kproxy.plan.intent import PortIntent
    from kproxy.state.node import NodeInfo

CANARY = "KUBE-PROXY-CANARY"
MAX_LEFT_OUT = 100
"""Services that may be left out because the kernel refuses their rules; beyond that the cause is elsewhere."""


class IptablesProxier:
    """The iptables mode of one family. Not for several threads at once."""

    def __init__(
        self,
        config: Config,
        tool: IptablesTool,
        *,
        drop_invalid: bool = True,
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        self.family = tool.family
        self.tool = tool
        self.ruleset = ruleset_for.new_ruleset(config, tool.family, drop_invalid=drop_invalid)
        self.refused: dict[str, ObjectError] = {}
        self.unsupported = dict(unsupported or {})
        self._config = config
        self._in_step = False

    def configure(self, node: NodeInfo, addresses: tuple[str, ...], service_cidrs: tuple[str, ...] = ()) -> None:
        """Take over what is known of the node; `addresses` are its local ones of this family.

        `service_cidrs` are not used: as in kube-proxy, an address that no Service has is none of this mode's business.
        """
        ruleset_for.configure(self.ruleset, self._config, node, addresses)

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int) -> None:
        """Enter, replace or (without intents) remove a Service; the kernel hears of it at the next sync."""
        self.refused.pop(key, None)
        self.ruleset.set_service(key, intents, health_check_node_port)

    def sync(self, *, full: bool = False) -> Synced:
        """Write what differs; everything after a failure, at the first call, or if `full`.

        Raises `KernelError`. A Service whose rules the kernel refuses is left out and entered in `refused`.
        """
        full = full or not self._in_step
        self._in_step = False
        if full:
            self.ruleset.read_back(self.tool.save())
        while True:
            restore, updates, deletions = self.ruleset.difference()
            try:
                if restore.lines:
                    self.tool.restore(restore)
            except RestoreRefused as error:
                line = restore.lines[error.line - 1] if error.line and error.line <= len(restore.lines) else ""
                if not self._leave_out(line, error):
                    raise
                # A table before the one at fault is in the kernel already.
                self.ruleset.read_back(self.tool.save())
                continue
            break
        self.ruleset.applied(updates, deletions)
        self._in_step = True
        rules = dict.fromkeys(TABLES, 0)
        for (table, _), lines in updates.items():
            rules[table] += len(lines)
        written = f"{len(updates)} chains with {sum(rules.values())} rules" if updates else ""
        return Synced(full, written, len(deletions), rules)

    def intact(self) -> bool:
        """Tell whether nobody flushed our tables: the jumps from the built-in chains are all there, and the canary is.

        kube-proxy looks for the canary alone. But a table that was flushed between our look at it and our writing has
        a canary again and no jumps; and a firewall that rewrites its FORWARD chain takes ours away and leaves the rest.
        """
        return all(self.tool.has_chain(table, CANARY) for table in TABLES) and not any(
            missing_jumps(self._built_in(table), self.ruleset.jumps(table)) for table in TABLES
        )

    def _built_in(self, table: str) -> SavedTable:
        chains = {jump.chain for jump in self.ruleset.jumps(table)}
        return SavedTable(set(), {chain: self.tool.rules_of(table, chain) for chain in sorted(chains)})

    def count_rules(self) -> dict[str, int]:
        """Return the number of rules that kproxy owns, by table."""
        return dict(self.ruleset.rule_counts)

    def _leave_out(self, line: str, error: RestoreRefused) -> bool:
        key = self.ruleset.owner_of(line)
        if key is None or len(self.refused) >= MAX_LEFT_OUT:
            return False
        self.ruleset.set_service(key, ())
        self.refused[key] = ObjectError(f"Service {key}", "", f"{error.what}; skipped")
        return True
