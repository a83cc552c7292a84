"""What is news, and what repeats itself."""

from __future__ import annotations

from dataclasses import replace

from kproxy.events.event import Event, Report, Subject, health_check_failed
from kproxy.events.series import MAX_KEPT, OVER_S, REPEAT_S, EventSeries

EVENT = health_check_failed("lab", "web", "node-a", "the port is taken")
WALL = 1_000_000.0


def happen(series: EventSeries, *times: float, event: Event = EVENT) -> list[Report | None]:
    return [series.happened(event, now, WALL + now) for now in times]


def test_the_first_time_is_told_at_once_and_what_follows_is_counted() -> None:
    series = EventSeries()
    first, *others = happen(series, 0, 1, 2, 300)
    assert first == Report(EVENT, 1, WALL, WALL)
    assert others == [None] * 3


def test_what_goes_on_is_told_again_with_its_count() -> None:
    series = EventSeries()
    step = OVER_S / 2
    times = [step * number for number in range(2 * int(REPEAT_S / step) + 1)]
    told = [report for report in happen(series, *times) if report]
    assert [(report.count, report.first, report.last) for report in told] == [
        (1, WALL, WALL),
        (11, WALL, WALL + REPEAT_S),
        (21, WALL, WALL + 2 * REPEAT_S),
    ]


def test_after_a_while_it_is_a_new_one() -> None:
    series = EventSeries()
    assert happen(series, 0, OVER_S + 1)[1] == Report(EVENT, 1, WALL + OVER_S + 1, WALL + OVER_S + 1)


def test_another_note_is_no_other_event() -> None:
    series = EventSeries()
    happen(series, 0)
    assert happen(series, 1, event=replace(EVENT, note="another reason")) == [None]
    for other in (
        replace(EVENT, reason="Other"),
        replace(EVENT, action="Other"),
        replace(EVENT, type="Normal"),
        replace(EVENT, subject=Subject("Service", "web", "other")),
    ):
        assert happen(series, 1, event=other)[0] is not None


def test_a_crowd_is_not_kept_for_good() -> None:
    series = EventSeries()
    crowd = [health_check_failed("lab", f"web-{number}", "node-a", "why") for number in range(2 * MAX_KEPT)]
    for event in crowd:
        assert happen(series, 0, event=event)[0] is not None
    assert len(series._all) == MAX_KEPT
    assert happen(series, 1, event=crowd[0]) == [None]
    happen(series, OVER_S + 2, event=EVENT)
    assert len(series._all) == 1
