from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.settings.durations import format_duration, parse_duration

#: What Go's time.Duration prints for them.
WRITTEN = [
    (0, "0s"),
    (30, "30s"),
    (60, "1m0s"),
    (90, "1m30s"),
    (3600, "1h0m0s"),
    (86400, "24h0m0s"),
    (1.5, "1.5s"),
    (0.2, "200ms"),
    (0.0001, "100µs"),
]


@pytest.mark.parametrize(("seconds", "text"), WRITTEN)
def test_written_as_go_does(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_read_again(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
