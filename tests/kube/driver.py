"""A reflector whose server and clock are the test."""

from __future__ import annotations

import json

from kproxy.kube.backoff import BackOffPolicy
from kproxy.kube.reflector import Reflector
from kproxy.kube.requests import Request, Timing
from kproxy.kube.resources import SERVICES
from tests.kube import texts
from tests.kube.texts import bookmark, line, service

TIMING = Timing(
    resume_s=8.0,
    failures=BackOffPolicy(1.0, 8.0),
    lists=BackOffPolicy(4.0, 64.0),
    unreachable=BackOffPolicy(0.5, 1.0),
)


class Driver:
    """A reflector at a time that the test sets. Delays are whole steps (chance 1)."""

    def __init__(self, timing: Timing = TIMING) -> None:
        self.now = 100.0
        self.reflector = Reflector(SERVICES, lambda: 1.0, timing)

    def ask(self) -> Request:
        """Make the next request; the time goes on to when it may be made."""
        self.now = max(self.now, self.reflector.start_at)
        request = self.reflector.poll(self.now)
        assert request is not None
        return request

    def answer(self, status: int, *bodies: bytes, retry_after: str = "", end: bool = False) -> Request:
        """Make the next request and let it be answered."""
        request = self.ask()
        self.reflector.connected(self.now)
        self.reflector.response(self.now, status, retry_after)
        for body in bodies:
            self.reflector.data(self.now, body)
        if end:
            self.reflector.end(self.now)
        return request

    def refuse(self, code: int, reason: str, message: str = "", *, retry_after: str = "") -> Request:
        body = json.dumps(texts.status(code, reason, message)).encode()
        return self.answer(code, body, retry_after=retry_after, end=True)

    def follow(self) -> None:
        """Get the initial list, of one Service, and stand in a watch that lasts for long."""
        self.answer(200, line("ADDED", service("web", 3)), bookmark(5, end=True))
        assert [change.key for change in self.reflector.take()] == ["default/web"]
        self.now += 100

    @property
    def delay_s(self) -> float:
        return self.reflector.start_at - self.now


def parameters(request: Request) -> dict[str, str]:
    assert len(request.query) == len(dict(request.query))
    return dict(request.query)


SELECTORS = {
    "labelSelector": "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name",
    "fieldSelector": "spec.clusterIP!=None",
}
STREAMED = {
    "watch": "true",
    "allowWatchBookmarks": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "timeoutSeconds": "600",
}
