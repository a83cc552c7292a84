"""The lines of the table that are given for a mode, in the order in which they are played."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flows.configs import CONFIGS
from tests.flows.line import Flow, why_not
from tests.flows.sctp import SCTP_MISSING
from tests.flows.stage import Case
from tests.flows.table import ENTRIES, families_of
from tests.oracle.known import NOT_YET, reason

if TYPE_CHECKING:
    from tests.flows.modes import Mode


def cases_of(mode: Mode) -> list[Case]:
    """Known differences come last of their configuration: rules that are not repaired would spoil what follows."""
    every = [
        Case(mode, family, entry)
        for entry in ENTRIES
        for family in families_of(entry)
        if not why_not(entry.line, mode.letter)
        and not (SCTP_MISSING and isinstance(entry.line, Flow) and "sctp" in entry.line.protocols)
    ]
    playable = [case for case in every if case.config not in NOT_YET]
    order = list(CONFIGS)
    return sorted(playable, key=lambda case: (order.index(case.config), bool(reason(case))))
