"""When to sync next (reference section 2.8, without the pause between syncs)."""

from __future__ import annotations

import pytest

from kproxy.schedule import SyncSchedule


def test_nothing_is_asked_for() -> None:
    assert SyncSchedule(30).wait_s(1000.0) is None


def test_a_request_is_due_at_once_and_once() -> None:
    schedule = SyncSchedule(30)
    schedule.request()
    schedule.request()
    assert schedule.wait_s(5.0) == 0
    schedule.start()
    assert schedule.wait_s(5.0) is None
    schedule.finish(6.0, failed=False)
    assert schedule.wait_s(6.0) is None


def test_a_request_during_a_sync_is_another_sync() -> None:
    schedule = SyncSchedule(30)
    schedule.request()
    schedule.start()
    schedule.request()
    schedule.finish(6.0, failed=False)
    assert schedule.wait_s(6.0) == 0


def test_the_shortest_time_between_two_syncs_runs_from_the_end_of_the_first() -> None:
    schedule = SyncSchedule(30, 1.0)
    schedule.request()
    assert schedule.wait_s(100.0) == 0, "the first one waits for nothing"
    schedule.start()
    schedule.finish(102.0, failed=False)
    schedule.request()
    assert schedule.wait_s(102.0) == 1.0
    assert schedule.wait_s(102.75) == 0.25
    assert schedule.wait_s(103.0) == 0
    assert schedule.wait_s(200.0) == 0


def test_a_failed_sync_is_repeated_ever_later() -> None:
    schedule = SyncSchedule(30)
    waits = []
    now = 0.0
    for _ in range(9):
        schedule.request()
        schedule.start()
        schedule.finish(now, failed=True)
        wait = schedule.wait_s(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_after_a_success_it_starts_over() -> None:
    schedule = SyncSchedule(30)
    for failed in (True, True, False, True):
        schedule.request()
        schedule.start()
        schedule.finish(10.0, failed=failed)
    assert schedule.wait_s(10.0) == 0.5


def test_a_change_does_not_hurry_the_repetition() -> None:
    schedule = SyncSchedule(30)
    schedule.request()
    schedule.start()
    schedule.finish(10.0, failed=True)
    schedule.request()
    assert schedule.wait_s(10.25) == 0.25


def test_the_repetition_keeps_the_shortest_time_too() -> None:
    schedule = SyncSchedule(30, 3.0)
    schedule.request()
    schedule.start()
    schedule.finish(10.0, failed=True)
    assert schedule.wait_s(10.0) == 3.0


@pytest.mark.parametrize("period", [0.1, 30.0])
def test_it_fails_for_days(period: float) -> None:
    """Somebody else's lock may be held over a weekend: the thousandth failure is one like the others."""
    schedule = SyncSchedule(period)
    for number in range(3000):
        schedule.request()
        schedule.start()
        schedule.finish(number * period, failed=True)
    assert schedule.wait_s(2999 * period) == pytest.approx(period)
