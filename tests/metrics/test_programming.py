from __future__ import annotations

import pytest

from kproxy.kube.wire import EndpointSlice, ObjectMeta
from kproxy.metrics.programming import MAX_WAITING, ProgrammingLatency
from kproxy.sources.changes import Change

#: 2026-01-01T00:00:00Z
NEW_YEAR = 1767225600.0


def change(text: str | None, family: str = "IPv4") -> Change:
    annotations = None if text is None else {"endpoints.kubernetes.io/last-change-trigger-time": text}
    slice_ = EndpointSlice(metadata=ObjectMeta(name="s", annotations=annotations), address_type=family)
    return Change("EndpointSlice", "default/s", slice_)


@pytest.mark.parametrize(
    ("text", "happened"),
    [
        ("2026-01-01T00:00:01Z", NEW_YEAR + 1),
        ("2026-01-01T00:00:01.5Z", NEW_YEAR + 1.5),
        ("2026-01-01T00:00:01.123456789Z", NEW_YEAR + 1.123456),
        ("2026-01-01T01:00:01+01:00", NEW_YEAR + 1),
        ("2025-12-31T23:59:59Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_what_counts(text: str | None, happened: float | None) -> None:
    latency = ProgrammingLatency(started=NEW_YEAR)
    latency.note([change(text, "IPv6"), Change("EndpointSlice", "default/gone", None)])
    taken = latency.take()
    assert [trigger.family for trigger in taken] == ([] if happened is None else ["IPv6"])
    assert [trigger.happened for trigger in taken] == ([] if happened is None else [pytest.approx(happened)])
    assert latency.take() == []


def test_a_failed_sync_programs_nothing() -> None:
    latency = ProgrammingLatency(started=NEW_YEAR)
    latency.note([change("2026-01-01T00:00:01Z")])
    taken = latency.take()
    latency.note([change("2026-01-01T00:00:02Z")])
    latency.put_back(taken)
    assert [trigger.happened for trigger in latency.take()] == [NEW_YEAR + 1, NEW_YEAR + 2]


def test_what_waits_for_a_sync_that_works_is_bounded() -> None:
    """Syncs may fail for days while endpoints come and go."""
    latency = ProgrammingLatency(started=NEW_YEAR)
    for _ in range(3):
        latency.note([change("2026-01-01T00:00:01Z")] * MAX_WAITING)
        latency.put_back(latency.take())
        taken = latency.take()
        latency.note([change("2026-01-01T00:00:02Z")])
        latency.put_back(taken)
    taken = latency.take()
    assert len(taken) == MAX_WAITING
    assert {trigger.happened for trigger in taken} == {NEW_YEAR + 1}, "the oldest are kept"
