"""When several that wait for a server try again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kproxy.kube.recovery import TRY_S, Recovery


@dataclass(eq=False)
class Fake:
    """A reflector as the others see it."""

    idle: bool = True
    failing: bool = True
    patient: bool = False
    start_at: float = 100.0
    try_from: float = 0.0

    def hasten(self, now: float) -> None:
        self.start_at = min(self.start_at, max(now, self.try_from))

    def stands(self) -> None:
        self.idle = self.failing = False


def group(*waiting: Fake, chance: float = 1.0) -> Recovery:
    made = Recovery(lambda: chance)
    for one in waiting:
        made.join(one)
    return made


@pytest.mark.parametrize(("chance", "pause_s"), [(0.0, TRY_S / 2), (1.0, TRY_S)])
def test_one_of_those_that_wait_tries_whichever_it_is(chance: float, pause_s: float) -> None:
    first, second = Fake(), Fake()
    recovery = group(first, second, chance=chance)
    recovery.ended(first, 10.0)
    due = 10.0 + pause_s
    assert recovery.due(first) == recovery.due(second) == pytest.approx(due)
    recovery.woke(first, due)
    assert first.start_at == due
    assert recovery.due(second) == pytest.approx(due + pause_s), "not both of them"
    recovery.woke(second, due)
    assert second.start_at == 100.0


def test_its_own_time_may_come_first() -> None:
    one = Fake(start_at=10.1)
    recovery = group(one)
    recovery.ended(one, 10.0)
    assert recovery.due(one) == 10.1


def test_what_the_server_asked_for_is_waited_for() -> None:
    one, other = Fake(try_from=30.0), Fake()
    recovery = group(one, other)
    recovery.ended(other, 10.0)
    assert recovery.due(one) == 30.0
    recovery.works(other, 11.0)
    assert one.start_at == 30.0


def test_asking_sooner_is_of_no_use_where_we_are_at_fault() -> None:
    """Until somebody else is not refused any more."""
    one, other = Fake(patient=True), Fake()
    recovery = group(one, other)
    recovery.ended(other, 10.0)
    assert recovery.due(one) == 100.0
    recovery.works(other, 11.0)
    assert one.start_at == 11.0


def test_the_first_that_works_hastens_those_that_fail() -> None:
    first, failing, planned = Fake(), Fake(), Fake(failing=False)
    recovery = group(first, failing, planned)
    first.stands()
    recovery.works(first, 20.0)
    assert (failing.start_at, planned.start_at) == (20.0, 100.0)


def test_while_another_watch_stands_each_waits_its_own_time() -> None:
    stands, one, other = Fake(), Fake(), Fake()
    recovery = group(stands, one, other)
    stands.stands()
    recovery.ended(one, 10.0)
    assert recovery.due(one) == 100.0
    other.stands()
    recovery.works(other, 20.0)
    assert one.start_at == 100.0, "two that fail in turn would hasten each other for ever"


def test_one_that_left_counts_no_more() -> None:
    stands, one = Fake(), Fake()
    recovery = group(stands, one)
    stands.stands()
    recovery.leave(stands)
    recovery.ended(one, 10.0)
    assert recovery.due(one) == 10.0 + TRY_S
