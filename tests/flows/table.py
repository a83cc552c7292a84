"""The flow table: every row of section 10 of the reference, each line with the Services and addresses it gets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.flows import rows_cluster_ip, rows_external, rows_lifecycle
from tests.flows.line import Elsewhere, Flow, Line, row_number
from tests.flows.services import Deployed, Place
from tests.lab.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES: tuple[Line, ...] = (*rows_cluster_ip.LINES, *rows_external.LINES, *rows_lifecycle.LINES)
#: All numbers of the reference: 1 to 106, and 57a.
ROWS = (*(str(n) for n in range(1, 107)), "57a")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line with its Services in place. `deployed` is by family; a Flow's one Service serves all its families."""

    line: Line
    place: Place
    deployed: dict[Family, tuple[Deployed, ...]]

    def distinct(self) -> list[Deployed]:
        """Every Service of the entry once."""
        return list({one.place: one for group in self.deployed.values() for one in group}.values())


def _entries() -> Iterator[Entry]:
    used: Counter[str] = Counter()

    def place(row: str) -> Place:
        used[row] += 1
        return Place(row_number(row), used[row])

    for line in LINES:
        if isinstance(line, Elsewhere):
            yield Entry(line, place(line.row), {})
        elif isinstance(line, Flow):
            where = place(line.row)
            made = tuple(Deployed(svc, where, line.families, line.protocols) for svc in line.services)
            yield Entry(line, where, dict.fromkeys(line.families, made))
        else:
            groups = {
                family: tuple(Deployed(svc, place(line.row), (family,)) for svc in line.services)
                for family in line.families
            }
            first = groups[line.families[0]]
            yield Entry(line, first[0].place if first else place(line.row), groups)


ENTRIES: tuple[Entry, ...] = tuple(_entries())


def families_of(entry: Entry) -> tuple[Family, ...]:
    return () if isinstance(entry.line, Elsewhere) else entry.line.families


__all__ = ["ENTRIES", "FAMILIES", "LINES", "ROWS", "Entry", "families_of"]
