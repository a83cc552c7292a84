"""Which happenings are news, and which only repeat one that was told. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kproxy.events.event import Report

if TYPE_CHECKING:
    from kproxy.events.event import Event, Subject

REPEAT_S: Final = 1800.0
"""What goes on happening is told again this often, with its count; client-go refreshes a series as often."""

OVER_S: Final = 360.0
"""What has not happened for so long begins a new series when it happens again; client-go's number, too."""

MAX_KEPT: Final = 1_000
"""Series that are kept. Beyond that new ones are told as if they had not happened before, and not kept."""


@dataclass(slots=True)
class _Series:
    count: int
    first: float
    last: float
    seen_at: float
    told_at: float


class EventSeries:
    """Counts what happens. Times are seconds: `now` of a clock that does not jump, `wall` since the epoch."""

    def __init__(self) -> None:
        self._all: dict[tuple[Subject, str, str, str], _Series] = {}

    def happened(self, event: Event, now: float, wall: float) -> Report | None:
        """Note that an event happened; return what is to be told of it now, None if that can wait."""
        series = self._all.get(event.identity)
        if series is None or now - series.seen_at > OVER_S:
            self._enter(event, _Series(1, wall, wall, now, now), now)
            return Report(event, 1, wall, wall)
        series.count += 1
        series.seen_at, series.last = now, wall
        if now - series.told_at < REPEAT_S:
            return None
        series.told_at = now
        return Report(event, series.count, series.first, wall)

    def _enter(self, event: Event, series: _Series, now: float) -> None:
        if len(self._all) >= MAX_KEPT:
            self._all = {key: one for key, one in self._all.items() if now - one.seen_at <= OVER_S}
        if len(self._all) < MAX_KEPT or event.identity in self._all:
            self._all[event.identity] = series
