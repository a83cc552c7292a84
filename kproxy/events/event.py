"""The Events of events.k8s.io/v1, as kube-proxy makes them: the same reasons and actions, under its name.

Only what concerns this node alone is an Event: every node of a large cluster would tell of an invalid Service. It is
named in the log, and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

CONTROLLER: Final = "kube-proxy"
"""reportingController: whoever looks for Events of the service proxy looks for this."""

MAX_NAME, MAX_INSTANCE, MAX_NOTE = 253, 128, 1024
"""The API's limits, in characters; of an Event's name this is all there may be."""

_TO_UTF8 = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Subject:
    """What an Event is about. A Node is in no namespace ("")."""

    kind: str
    name: str
    namespace: str = ""

    @property
    def key(self) -> str:
        """Namespace and name, or the name alone. It is also the UID that kube-proxy gives its subjects."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `type` is "Normal" or "Warning"; the note is for people."""

    subject: Subject
    type: str
    reason: str
    action: str
    note: str = ""

    @property
    def identity(self) -> tuple[Subject, str, str, str]:
        """Two Events of the same identity are one that happened again."""
        return self.subject, self.type, self.reason, self.action


@dataclass(frozen=True, slots=True)
class Report:
    """An Event to be told: how often it happened, first and last when (seconds since the epoch)."""

    event: Event
    count: int
    first: float
    last: float


def started(node: str) -> Event:
    """Return the Event of an agent that runs on a node now."""
    return Event(Subject("Node", node), "Normal", "Starting", "StartKubeProxy")


def metrics_server_failed(node: str, why: str) -> Event:
    """Return the Event of a metrics server that can't listen: the agent ends for it."""
    return Event(Subject("Node", node), "Warning", "FailedToStartMetricServer", "StartKubeProxy", why)


def health_server_failed(node: str, why: str) -> Event:
    """Return the Event of a health server that can't listen: the agent ends for it."""
    return Event(Subject("Node", node), "Warning", "FailedToStartProxierHealthcheck", "StartKubeProxy", why)


def health_check_failed(namespace: str, service: str, node: str, why: str) -> Event:
    """Return the Event of a Service whose health check node port can't be listened on."""
    subject = Subject("Service", service, namespace)
    return Event(subject, "Warning", "FailedToStartServiceHealthcheck", "Listen", f"node {node}: {why}")


def own_address_not_served(namespace: str, service: str, node: str, why: str) -> Event:
    """Return the Event of a Service with an address that is the node's own, on which this mode can't serve it."""
    return Event(Subject("Service", service, namespace), "Warning", "AddressNotServed", "Serve", f"node {node}: {why}")


def collection(event: Event) -> str:
    """Return the path under which an Event is created; one about a Node is in the namespace `default`."""
    return f"/apis/events.k8s.io/v1/namespaces/{event.subject.namespace or 'default'}/events"


def encode(report: Report, node: str) -> bytes:
    """Return the object as JSON. Its name has the time of the last occurrence, as client-go's have."""
    event, subject = report.event, report.event.subject
    stamp = f".{int(report.last * 1e9):x}"
    data: dict[str, Any] = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": subject.name[: MAX_NAME - len(stamp)] + stamp,
            "namespace": subject.namespace or "default",
        },
        "eventTime": _micro_time(report.first),
        "reportingController": CONTROLLER,
        "reportingInstance": f"kproxy-{node}"[:MAX_INSTANCE],
        "action": event.action,
        "reason": event.reason,
        "type": event.type,
        "note": event.note[:MAX_NOTE],
        "regarding": {
            "apiVersion": "v1",
            "kind": subject.kind,
            "name": subject.name,
            "uid": subject.key,
            **({"namespace": subject.namespace} if subject.namespace else {}),
        },
    }
    if report.count > 1:
        data["series"] = {"count": report.count, "lastObservedTime": _micro_time(report.last)}
    return _TO_UTF8.encode(data)


def _micro_time(seconds: float) -> str:
    """Return a time as metav1.MicroTime writes it: 2026-01-01T00:00:00.000000Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
