"""The object on the wire: reference section 8.8, and the API's limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kproxy.events import event as events
from kproxy.events.event import Event, Report, Subject, collection, encode

AT = 1767225600.25  # 2026-01-01T00:00:00.25Z


def encoded(event: Event, count: int = 1, last: float = AT, node: str = "node-a") -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(encode(Report(event, count, AT, last), node))
    return decoded


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.started("node-a"), ("Node", "Normal", "Starting", "StartKubeProxy")),
        (
            events.health_server_failed("node-a", "why"),
            ("Node", "Warning", "FailedToStartProxierHealthcheck", "StartKubeProxy"),
        ),
        (
            events.metrics_server_failed("node-a", "why"),
            ("Node", "Warning", "FailedToStartMetricServer", "StartKubeProxy"),
        ),
        (
            events.health_check_failed("lab", "web", "node-a", "why"),
            ("Service", "Warning", "FailedToStartServiceHealthcheck", "Listen"),
        ),
    ],
    ids=lambda value: value.reason if isinstance(value, Event) else "",
)
def test_the_rows_of_the_table(event: Event, expected: tuple[str, ...]) -> None:
    said = encoded(event)
    assert (said["regarding"]["kind"], said["type"], said["reason"], said["action"]) == expected
    assert (said["apiVersion"], said["kind"]) == ("events.k8s.io/v1", "Event")
    assert (said["reportingController"], said["reportingInstance"]) == ("kube-proxy", "kproxy-node-a")
    assert "series" not in said


def test_an_event_about_a_node_is_in_the_default_namespace() -> None:
    event = events.started("node-a")
    said = encoded(event)
    assert collection(event) == "/apis/events.k8s.io/v1/namespaces/default/events"
    assert said["metadata"]["namespace"] == "default"
    assert said["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "node-a"}
    assert said["eventTime"] == "2026-01-01T00:00:00.250000Z"
    assert said["note"] == ""


def test_an_event_about_a_service_is_in_its_namespace() -> None:
    event = events.health_check_failed("lab", "web", "node-a", "the port is taken")
    said = encoded(event)
    assert collection(event) == "/apis/events.k8s.io/v1/namespaces/lab/events"
    assert said["metadata"]["namespace"] == said["regarding"]["namespace"] == "lab"
    assert said["regarding"]["uid"] == "lab/web"
    assert said["note"] == "node node-a: the port is taken"


def test_one_that_happened_again_has_a_series() -> None:
    said = encoded(events.started("node-a"), count=3, last=AT + 60)
    assert said["eventTime"] == "2026-01-01T00:00:00.250000Z"
    assert said["series"] == {"count": 3, "lastObservedTime": "2026-01-01T00:01:00.250000Z"}
    assert said["metadata"]["name"] != encoded(events.started("node-a"))["metadata"]["name"]


def test_the_limits_of_the_api_are_kept() -> None:
    said = encoded(Event(Subject("Node", "n" * 253), "Normal", "Starting", "Start", "x" * 5000), node="n" * 253)
    assert len(said["metadata"]["name"]) == 253
    assert len(said["reportingInstance"]) == 128
    assert len(said["note"]) == 1024
