"""The flow table, with real packets: every line that applies, in every mode and family.

pytest tests/flows                      all of it
pytest tests/flows -k "nft and ipv6"    one variant and family
pytest tests/flows -k "legacy-ipv4-17-" one row
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flows.configs import CONFIGS
from tests.flows.line import Flow, why_not
from tests.flows.modes import MODES
from tests.flows.sctp import SCTP_MISSING
from tests.flows.stage import Case, Stage
from tests.flows.table import ENTRIES, families_of
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from tests.flows.stages import Stages


def cases() -> list[Case]:
    """In the order in which they are played: a configuration is set up once, and its cases are all at hand."""
    every = [
        Case(mode, family, entry)
        for mode in MODES
        for entry in ENTRIES
        for family in families_of(entry)
        if not why_not(entry.line, mode.letter)
    ]
    order = list(CONFIGS)
    return sorted(every, key=lambda case: (MODES.index(case.mode), order.index(case.config)))


def parameter(case: Case) -> object:
    line = case.entry.line
    sctp = isinstance(line, Flow) and "sctp" in line.protocols
    marks = [pytest.mark.skip(reason=f"{SCTP_MISSING}: played in User-Mode Linux")] if sctp and SCTP_MISSING else []
    if case.mode.letter == "v":
        marks.append(needs_ipvs)
    return pytest.param(case, id=case.id, marks=marks)


@pytest.mark.root
@pytest.mark.uml
@pytest.mark.parametrize("case", [parameter(case) for case in cases()])
def test_flow(case: Case, stages: Stages[Stage]) -> None:
    failure = stages.played(case).failures[case.id]
    if failure:
        pytest.fail(failure, pytrace=False)
