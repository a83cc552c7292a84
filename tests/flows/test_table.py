"""The table itself: nothing of the reference is missing, and every line says what it says without contradiction."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.flows.configs import CONFIGS
from tests.flows.line import MODES, Elsewhere, Flow, Line, Scenario, why_not
from tests.flows.services import names_of
from tests.flows.table import ENTRIES, LINES, ROWS

BY_ROW = {row: [line for line in LINES if line.row == row] for row in ROWS}


def test_all_107_rows_are_there() -> None:
    assert len(ROWS) == 107
    assert {line.row for line in LINES} == set(ROWS)


@pytest.mark.parametrize("mode", MODES)
def test_a_row_applies_or_says_why_not(mode: str) -> None:
    """And of every mode more than half of the rows can be shown."""
    applying = [row for row in ROWS if "" in [why_not(line, mode) for line in BY_ROW[row]]]
    assert len(applying) > len(ROWS) / 2
    for row in set(ROWS) - set(applying):
        assert all(why_not(line, mode) for line in BY_ROW[row])


def test_every_line_is_complete() -> None:
    for line in LINES:
        check_line(line)


def check_line(line: Line) -> None:
    assert line.text.isascii()
    assert set(line.modes) <= set(MODES)
    assert line.modes
    if isinstance(line, Elsewhere):
        assert line.reason
        return
    assert line.config in CONFIGS
    if isinstance(line, Flow) and line.service and line.expected.kind.name == "ENDPOINTS":
        assert set(line.expected.who) <= names_of(line.service.endpoints)


def test_no_two_lines_are_told_apart_by_nothing() -> None:
    """Lines of one row, mode and family have labels of their own: test ids are made of them."""
    for row in ROWS:
        for one, other in combinations(BY_ROW[row], 2):
            if set(one.modes) & set(other.modes) and not isinstance(one, Elsewhere):
                families = set(one.families) & set(getattr(other, "families", ()))
                assert not families or one.label != other.label, f"row {row}: {one.label}"


def test_every_service_has_addresses_of_its_own() -> None:
    places = [one.place for entry in ENTRIES for one in entry.distinct()]
    assert len(places) == len(set(places))
    assert len({place.node_port for place in places}) == len(places)
    assert all(30000 <= place.node_port <= 32767 for place in places)


def test_every_scenario_with_more_families_has_services_for_each() -> None:
    for entry in ENTRIES:
        if isinstance(entry.line, Scenario):
            assert all(len(group) == len(entry.line.services) for group in entry.deployed.values())
