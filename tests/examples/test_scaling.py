"""What the demo makes of steady traffic across a change."""

from __future__ import annotations

import pytest

from examples.demo.scaling import Step
from examples.demo.steady import Moment
from tests.lab import Answer, Outcome

WRITTEN = 100.0


def moment(began: float, who: str = "") -> Moment:
    outcome = Outcome.ANSWERED if who else Outcome.REFUSED
    return Moment(WRITTEN + began, WRITTEN + began + 0.001, Answer(outcome, who))


def step(before: str, after: str, *moments: Moment, settled: bool = False) -> Step:
    made = Step(tuple(before.split()), tuple(after.split()))
    for one in moments:
        made.add(one, WRITTEN, settled=settled)
    return made


def test_the_first_new_and_the_last_old_connection_are_timed() -> None:
    moments = [moment(0.01, "a"), moment(0.02, "b"), moment(0.03, "c"), moment(0.04, "b"), moment(0.05, "c")]
    made = step("a b", "a c", *moments)
    assert made.first_s == pytest.approx(0.031)
    assert made.last_s == pytest.approx(0.04)
    assert made.shares == {"a": 1, "b": 2, "c": 2}
    assert made.problems() == []


def test_without_pods_a_refusal_is_right() -> None:
    made = step("a", "", moment(0.01, "a"), moment(0.02))
    assert (made.refused, made.problems()) == (1, [])
    assert made.first_s == pytest.approx(0.021)


def test_the_old_state_is_wrong_once_the_change_has_settled() -> None:
    assert len(step("a b", "a", moment(0.5, "b"), settled=True).problems()) == 1
    assert step("a b", "a", moment(0.5, "a"), settled=True).problems() == []


@pytest.mark.parametrize(("before", "after"), [("a b", "a"), ("a", "a b"), ("a", "")])
def test_a_connection_that_nobody_handled_is_wrong(before: str, after: str) -> None:
    assert len(step(before, after, moment(0.01, "world")).problems()) == 1


def test_a_refusal_is_wrong_between_two_states_with_pods() -> None:
    assert len(step("a b", "a", moment(0.01)).problems()) == 1
