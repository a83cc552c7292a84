"""How much reaches the API server, whatever happens here."""

from __future__ import annotations

from kproxy.events.event import Report, started
from kproxy.events.outbox import BURST, EVERY_S, MAX_REFUSALS, MAX_WAITING, RETRY, Outbox


def report(number: int = 0) -> Report:
    return Report(started(f"node-{number}"), 1, 0.0, 0.0)


def filled(count: int) -> Outbox:
    outbox = Outbox()
    for number in range(count):
        outbox.put(report(number))
    return outbox


def test_nothing_waits_at_first() -> None:
    outbox = Outbox()
    assert (outbox.wait_s(0.0), outbox.take(0.0)) == (None, None)


def test_they_are_taken_in_order() -> None:
    outbox = filled(2)
    assert [outbox.take(0.0), outbox.take(0.0), outbox.take(0.0)] == [report(0), report(1), None]


def test_a_crowd_does_not_flood_the_server() -> None:
    outbox = filled(5_000)
    assert outbox.dropped == 5_000 - MAX_WAITING
    taken = []
    for second in range(3601):
        while (one := outbox.take(float(second))) is not None:
            taken.append(one)
            outbox.sent()
        if second == 0:
            assert len(taken) == BURST
            assert outbox.wait_s(0.0) == EVERY_S
    assert len(taken) == min(MAX_WAITING, BURST + 3600 / EVERY_S)


def test_an_hour_has_its_measure_even_if_they_never_end() -> None:
    outbox, taken = Outbox(), 0
    for second in range(3600):
        outbox.put(report(second))
        taken += outbox.take(float(second)) is not None
        outbox.sent()
    assert taken <= BURST + 3600 / EVERY_S


def test_while_the_server_is_away_the_first_one_waits_longer_each_time() -> None:
    outbox, now = filled(2), 0.0
    delays = []
    for _ in range(8):
        assert outbox.take(now) == report(0)
        outbox.lost(now, 1.0)
        delay_s = outbox.wait_s(now)
        assert delay_s is not None
        delays.append(delay_s)
        assert outbox.take(now + delay_s / 2) is None
        now += delay_s
    assert delays == [1, 2, 4, 8, 16, 32, RETRY.longest_s, RETRY.longest_s]
    assert outbox.take(now) == report(0)
    outbox.sent()
    assert outbox.take(now) == report(1)
    outbox.lost(now, 1.0)
    assert outbox.wait_s(now + 1) is not None
    assert outbox.dropped == 0


def test_one_that_is_refused_lets_the_others_pass_and_is_dropped_in_the_end() -> None:
    outbox, now = filled(2), 0.0
    assert outbox.take(now) == report(0)
    outbox.refused(now, 1.0, for_good=False)
    now += 1
    assert outbox.take(now) == report(1)
    outbox.sent()
    for _ in range(MAX_REFUSALS - 1):
        now += 100
        assert outbox.take(now) == report(0)
        outbox.refused(now, 1.0, for_good=False)
    assert (outbox.wait_s(now), outbox.dropped) == (None, 1)


def test_one_that_is_refused_for_good_is_dropped_at_once() -> None:
    outbox = filled(1)
    outbox.take(0.0)
    outbox.refused(0.0, 1.0, for_good=True)
    assert (outbox.wait_s(0.0), outbox.dropped) == (None, 1)
