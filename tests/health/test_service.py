"""Health check node ports: the answers (reference section 7.3) and which listeners to open and close."""

from __future__ import annotations

import json

import pytest

from kproxy.health.service import (
    ListenerChanges,
    ServiceKey,
    desired_listeners,
    listener_changes,
    service_answer,
)
from kproxy.plan.service_health import ServiceHealth

A, B, C = ("ns", "a"), ("ns", "b"), ("other", "a")


@pytest.mark.parametrize(
    ("count", "alive", "status"), [(2, True, 200), (1, True, 200), (0, True, 503), (2, False, 503), (0, False, 503)]
)
def test_answer(count: int, alive: bool, status: int) -> None:
    answer = service_answer(("default", "web"), count, alive)
    assert answer.status == status
    assert dict(answer.headers) == {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(count),
    }
    assert json.loads(answer.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": count,
        "serviceProxyHealthy": alive,
    }


def test_body_is_laid_out_as_kube_proxys() -> None:
    expected = (
        b'{\n\t"service": {\n\t\t"namespace": "default",\n\t\t"name": "web"\n\t},\n'
        b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert service_answer(("default", "web"), 2, True).body == expected


def test_families_share_a_port_and_a_pod_counts_once() -> None:
    """Two pods, each with an address in both families; the other Service has one family only."""
    wishes = [
        ServiceHealth("ns", "a", 30001, 2),
        ServiceHealth("ns", "b", 30002, 0),
        ServiceHealth("ns", "a", 30001, 2),
    ]
    assert desired_listeners(wishes) == {A: (30001, 2), B: (30002, 0)}
    assert desired_listeners([]) == {}


@pytest.mark.parametrize(
    ("open_ports", "desired", "expected"),
    [
        pytest.param({}, {}, ListenerChanges(), id="nothing"),
        pytest.param({A: 1}, {A: (1, 0)}, ListenerChanges(), id="kept; the count alone opens and closes nothing"),
        pytest.param({}, {B: (2, 1), A: (1, 1)}, ListenerChanges(open=((A, 1), (B, 2))), id="new"),
        pytest.param({A: 1, B: 2}, {B: (2, 1)}, ListenerChanges(close=(A,)), id="gone"),
        pytest.param({A: 1}, {A: (3, 1)}, ListenerChanges(close=(A,), open=((A, 3),)), id="another port"),
        pytest.param(
            {A: 1, B: 2}, {A: (2, 1), B: (1, 1)}, ListenerChanges((A, B), ((A, 2), (B, 1))), id="ports swapped"
        ),
        pytest.param({A: 1}, {B: (1, 1)}, ListenerChanges((A,), ((B, 1),)), id="port handed over"),
        pytest.param({}, {C: (1, 1), B: (1, 1)}, ListenerChanges(open=((B, 1),), refused=((C, 1, B),)), id="same port"),
        pytest.param({C: 1}, {C: (1, 1), B: (1, 1)}, ListenerChanges(refused=((B, 1, C),)), id="the holder keeps it"),
    ],
)
def test_changes(
    open_ports: dict[ServiceKey, int], desired: dict[ServiceKey, tuple[int, int]], expected: ListenerChanges
) -> None:
    assert listener_changes(open_ports, desired) == expected
