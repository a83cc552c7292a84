"""Measured values and how they are printed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """Several measurements of one thing; `unit` is "s", "ms" or "MiB"."""

    what: str
    values: Sequence[float]
    unit: str = "s"
    peer: Sequence[float] = ()
    """The tool's own figure in the same run, for the ratio of the medians."""

    def cells(self) -> tuple[str, str, str]:
        numbers = " / ".join(_number(value) for value in (min(self.values), self.median, max(self.values)))
        ratio = f"{self.median / statistics.median(self.peer):.2f}" if self.peer else ""
        return self.what, f"{numbers} {self.unit}", ratio

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print a table: what, min / median / max, ratio to the peer."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("min / median / max", justify="right")
    table.add_column("ratio", justify="right")
    for figure in figures:
        table.add_row(*figure.cells())
    Console(width=110).print(table)


def show_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of ready-made cells."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
