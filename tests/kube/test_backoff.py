from __future__ import annotations

import pytest

from kproxy.kube.backoff import BackOff, BackOffPolicy


@pytest.mark.parametrize(("chance", "delays"), [(1.0, [1.0, 2.0, 4.0, 5.0, 5.0]), (0.0, [0.5, 1.0, 2.0, 2.5, 2.5])])
def test_delays_double_up_to_the_longest(chance: float, delays: list[float]) -> None:
    backoff = BackOff(BackOffPolicy(1.0, 5.0))
    assert [backoff.next_s(chance) for _ in delays] == delays
    assert backoff.failures == len(delays)


def test_a_reset_begins_again() -> None:
    backoff = BackOff(BackOffPolicy(1.0, 5.0))
    backoff.next_s(1.0)
    backoff.next_s(1.0)
    backoff.reset()
    assert backoff.next_s(1.0) == 1.0


def test_a_week_of_failures() -> None:
    backoff = BackOff(BackOffPolicy(0.25, 30.0))
    assert [backoff.next_s(1.0) for _ in range(20_000)][-1] == 30.0
