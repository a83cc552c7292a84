"""The difference tracker: what is wanted, what the kernel holds, and what is between; also after failures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.plan.delta import UNKNOWN, DeltaTracker, Unknown


def apply(tracker: DeltaTracker[str, int], kernel: dict[str, int]) -> None:
    updates, deletions = tracker.updates(), tracker.deletions()
    kernel.update(updates)
    for key in deletions:
        del kernel[key]
    tracker.applied(updates, deletions)


def test_what_is_wanted_is_written_once() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.want("a", 1)
    assert (tracker.updates(), tracker.deletions()) == ({"a": 1}, [])
    assert tracker.updates() == {"a": 1}, "looking changes nothing"
    tracker.applied({"a": 1}, [])
    assert (tracker.updates(), tracker.deletions()) == ({}, [])


def test_a_change_that_is_undone_costs_nothing() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.want("a", 1)
    tracker.applied(tracker.updates(), [])
    tracker.want("a", 2)
    tracker.want("a", 1)
    tracker.want("b", 1)
    tracker.unwant("b")
    tracker.unwant("a")
    tracker.want("a", 1)
    assert (tracker.updates(), tracker.deletions()) == ({}, [])


def test_deletion() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.replace_actual({"a": 1})
    assert tracker.deletions() == ["a"]
    tracker.applied({}, ["a"])
    assert (tracker.deletions(), dict(tracker.actual)) == ([], {})
    tracker.unwant("never there")
    assert tracker.deletions() == []


def test_a_failure_changes_nothing() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.want("a", 1)
    tracker.updates()  # and the kernel refused it
    tracker.want("b", 2)
    assert tracker.updates() == {"a": 1, "b": 2}


def test_part_of_it_is_applied() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.replace_actual({"x": 1, "y": 1})
    tracker.want("a", 1)
    tracker.want("b", 2)
    tracker.applied({"a": 1}, ["x"])
    assert (tracker.updates(), tracker.deletions()) == ({"b": 2}, ["y"])


def test_a_wish_that_changed_meanwhile_is_written_next() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.want("a", 1)
    tracker.want("gone", 1)
    updates = tracker.updates()
    tracker.want("a", 2)
    tracker.unwant("gone")
    tracker.applied(updates, [])
    assert (tracker.updates(), tracker.deletions()) == ({"a": 2}, ["gone"])


def test_what_nobody_has_read_is_written_anew() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    tracker.want("a", 1)
    tracker.replace_actual({"a": UNKNOWN, "b": UNKNOWN})
    assert (tracker.updates(), tracker.deletions()) == ({"a": 1}, ["b"])
    assert repr(UNKNOWN) == "UNKNOWN"
    assert Unknown() != UNKNOWN


def test_reading_back_repairs() -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    for key in "abc":
        tracker.want(key, 1)
    tracker.applied(tracker.updates(), [])
    tracker.replace_actual({"a": 1, "b": 9, "z": 0})  # somebody changed b, deleted c and added z
    assert (tracker.updates(), tracker.deletions()) == ({"b": 1, "c": 1}, ["z"])


@pytest.mark.parametrize("value", [None, 0, (), ""])
def test_values_that_are_empty_are_values(value: object) -> None:
    """An address in the kernel has no data: its value is nothing at all."""
    tracker: DeltaTracker[str, object] = DeltaTracker()
    tracker.want("a", value)
    assert tracker.updates() == {"a": value}
    tracker.applied({"a": value}, [])
    assert tracker.updates() == {}
    tracker.unwant("a")
    assert tracker.deletions() == ["a"]


KEYS = st.sampled_from("abcd")
WISHES = st.one_of(
    st.tuples(st.just("want"), KEYS, st.integers(0, 2)),
    st.tuples(st.just("unwant"), KEYS, st.just(0)),
    st.tuples(st.just("apply"), KEYS, st.just(0)),
    st.tuples(st.just("fail"), KEYS, st.just(0)),
    st.tuples(st.just("meddle"), KEYS, st.integers(0, 2)),
    st.tuples(st.just("read back"), KEYS, st.just(0)),
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(WISHES, max_size=40))
def test_any_history_ends_with_what_is_wanted(history: list[tuple[str, str, int]]) -> None:
    tracker: DeltaTracker[str, int] = DeltaTracker()
    kernel: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for what, key, value in history:
        match what:
            case "want":
                wanted[key] = value
                tracker.want(key, value)
            case "unwant":
                wanted.pop(key, None)
                tracker.unwant(key)
            case "apply":
                apply(tracker, kernel)
            case "fail":
                tracker.updates(), tracker.deletions()
            case "meddle":
                kernel[key] = value
                tracker.replace_actual(kernel)
            case "read back":
                tracker.replace_actual(kernel)
    apply(tracker, kernel)
    assert kernel == wanted == dict(tracker.desired) == dict(tracker.actual)
    assert (tracker.updates(), tracker.deletions()) == ({}, [])
