from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kproxy.kube.backoff import BackOffPolicy
from kproxy.kube.reflector import Reflector
from kproxy.kube.requests import Phase, Purpose, Request, Timing
from kproxy.kube.resources import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, own_node
from tests.kube import texts
from tests.kube.texts import EXPIRED, bookmark, line, page, service

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


def test_a_streamed_list_comes_first() -> None:
    driver = Driver()
    request = driver.ask()
    assert request.path == "/api/v1/services"
    assert parameters(request) == {**SELECTORS, **STREAMED}


def test_selectors_of_the_other_resources() -> None:
    assert ENDPOINT_SLICES.path == "/apis/discovery.k8s.io/v1/endpointslices"
    assert dict(ENDPOINT_SLICES.selectors) == {"labelSelector": SELECTORS["labelSelector"]}
    assert dict(own_node("n1").selectors) == {"fieldSelector": "metadata.name=n1"}


def test_nothing_is_synced_before_the_bookmark_says_so() -> None:
    driver = Driver()
    driver.answer(200, line("ADDED", service("b", 9)), line("ADDED", service("a", 3)), bookmark(4))
    assert not driver.reflector.synced
    assert {change.key for change in driver.reflector.take()} == {"default/a", "default/b"}
    driver.reflector.data(driver.now, bookmark(12, end=True))
    assert driver.reflector.synced
    assert driver.reflector.take() == ()


def test_what_an_unfinished_first_list_had_and_the_next_has_not_is_taken_back() -> None:
    driver = Driver()
    driver.answer(200, line("ADDED", service("a", 3)), line("ADDED", service("b", 4)))
    assert len(driver.reflector.take()) == 2
    driver.reflector.lost(driver.now, "reset")
    driver.now += 60
    changed = service("b", 9, "10.96.0.2")
    driver.answer(200, line("ADDED", changed), bookmark(12, end=True))
    assert [(change.key, change.obj is None) for change in driver.reflector.take()] == [
        ("default/b", False),
        ("default/a", True),
    ]


def test_a_watch_goes_on_where_the_last_one_ended() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.data(driver.now, line("MODIFIED", service("web", 8, "10.96.0.2")))
    driver.reflector.end(driver.now)
    assert driver.delay_s == 0
    watch = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": "600"}
    assert parameters(driver.answer(200, bookmark(20))) == {**SELECTORS, **watch, "resourceVersion": "8"}
    driver.now += 300
    driver.reflector.end(driver.now)
    assert parameters(driver.ask())["resourceVersion"] == "20"
    assert driver.reflector.lists == 1


def test_a_refused_object_counts_for_the_version_too() -> None:
    driver = Driver()
    driver.follow()
    bad = service("web", 9)
    bad["spec"]["ports"] = 3
    driver.reflector.data(driver.now, line("MODIFIED", bad))
    assert driver.reflector.take() == ()
    assert [str(problem) for problem in driver.reflector.problems] == [
        "Service default/web: spec.ports: expected list, got int"
    ]
    driver.reflector.end(driver.now)
    assert parameters(driver.answer(200, line("MODIFIED", service("web", 10, "10.96.0.3"))))["resourceVersion"] == "9"
    assert driver.reflector.problems == ()
    assert len(driver.reflector.take()) == 1


def test_changes_are_coalesced_and_what_is_as_before_is_none() -> None:
    driver = Driver()
    driver.follow()
    for event in (
        line("MODIFIED", service("web", 6, "10.96.0.2")),
        line("ADDED", service("new", 7)),
        line("MODIFIED", service("web", 8)),
        line("DELETED", service("new", 9)),
    ):
        driver.reflector.data(driver.now, event)
    assert driver.reflector.take() == ()
    driver.reflector.data(driver.now, line("MODIFIED", service("web", 10)))
    assert driver.reflector.take() == ()


@pytest.mark.parametrize("in_stream", [True, False])
def test_gone_is_a_new_list_that_is_compared(in_stream: bool) -> None:
    driver = Driver()
    driver.answer(200, *(line("ADDED", service(name, 3)) for name in ("kept", "gone", "other")), bookmark(5, end=True))
    driver.reflector.take()
    driver.now += 100
    if in_stream:
        driver.reflector.data(driver.now, line("ERROR", EXPIRED))
    else:
        driver.reflector.end(driver.now)
        driver.refuse(410, "Expired")
    assert driver.reflector.idle
    assert driver.reflector.trouble == ""
    assert driver.delay_s == 4.0  # of the lists' series
    request = driver.answer(200, line("ADDED", service("kept", 3)), line("ADDED", service("other", 11, "10.96.0.7")))
    assert parameters(request) == {**SELECTORS, **STREAMED}
    assert driver.reflector.take() == ()
    driver.reflector.data(driver.now, bookmark(12, end=True))
    assert {(change.key, change.obj is None) for change in driver.reflector.take()} == {
        ("default/gone", True),
        ("default/other", False),
    }


def test_a_list_that_breaks_off_changes_nothing() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.data(driver.now, line("ERROR", EXPIRED))
    driver.answer(200, line("ADDED", service("new", 9)))
    driver.reflector.lost(driver.now, "connection reset by peer")
    assert driver.reflector.take() == ()
    assert driver.reflector.holds("default/web")
    assert not driver.reflector.holds("default/new")


@pytest.mark.parametrize("code", [400, 422])
def test_a_server_without_streamed_lists_is_asked_for_pages(code: int) -> None:
    driver = Driver()
    driver.refuse(code, "Invalid", "sendInitialEvents: Forbidden")
    assert driver.delay_s == 0
    first = driver.answer(200, page([service("a", 2)], 9, "token"), end=True)
    assert parameters(first) == {**SELECTORS, "limit": "500"}
    assert not driver.reflector.synced
    second = driver.answer(200, page([service("b", 3)], 9), end=True)
    assert parameters(second) == {**SELECTORS, "limit": "500", "continue": "token"}
    assert driver.reflector.synced
    assert {change.key for change in driver.reflector.take()} == {"default/a", "default/b"}
    assert parameters(driver.ask())["resourceVersion"] == "9"
    assert driver.reflector.trouble == ""


def test_a_server_that_ignores_the_parameter_is_found_out() -> None:
    """It sends the objects as events, no end of them, and is silent then."""
    driver = Driver()
    driver.answer(200, line("ADDED", service("a", 2)))
    driver.now = driver.reflector.deadline
    driver.reflector.expired(driver.now)
    assert driver.ask().purpose is Purpose.LIST


def test_an_etcd_that_is_too_old_for_streamed_lists() -> None:
    """The API server says so in the stream, with a code that means nothing else."""
    driver = Driver()
    driver.answer(200, line("ERROR", texts.status(500, "", "etcd cluster does not support RequestWatchProgress")))
    assert driver.delay_s == 0
    assert driver.ask().purpose is Purpose.LIST


def test_a_streamed_list_that_ends_at_once_is_none() -> None:
    driver = Driver()
    driver.answer(200, end=True)
    assert driver.delay_s == 0
    assert driver.ask().purpose is Purpose.LIST


@pytest.mark.parametrize("code", [401, 403, 429, 503])
def test_what_lists_would_meet_too_says_nothing_of_streamed_lists(code: int) -> None:
    driver = Driver()
    driver.refuse(code, "Reason")
    assert driver.delay_s == 1.0  # and it was no list
    assert driver.ask().purpose is Purpose.STREAMED_LIST


def test_a_page_that_was_lost_is_asked_for_again() -> None:
    driver = Driver()
    driver.refuse(422, "Invalid")
    driver.answer(200, page([service("a", 2)], 9, "token"), end=True)
    driver.answer(200, page([service("b", 3)], 9)[:50])
    driver.reflector.lost(driver.now, "connection reset by peer")
    assert parameters(driver.answer(200, page([service("b", 3)], 9), end=True))["continue"] == "token"
    assert len(driver.reflector.take()) == 2
    assert driver.reflector.lists == 1


def test_pages_that_expire_are_asked_for_in_one() -> None:
    driver = Driver()
    driver.refuse(422, "Invalid")
    driver.answer(200, page([service("a", 2)], 9, "token"), end=True)
    driver.refuse(410, "Expired")
    assert driver.delay_s == 4.0
    assert parameters(driver.answer(200, page([service("b", 2)], 12), end=True)) == SELECTORS
    assert [change.key for change in driver.reflector.take()] == ["default/b"]


def test_streamed_lists_are_tried_again_after_a_while() -> None:
    driver = Driver()
    driver.refuse(422, "Invalid")
    driver.answer(200, page([], 9), end=True)
    driver.answer(200)
    driver.now += 1000
    driver.reflector.data(driver.now, line("ERROR", EXPIRED))
    assert driver.ask().purpose is Purpose.STREAMED_LIST


def test_failures_wait_longer_each_time() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.lost(driver.now, "connection reset by peer")
    assert driver.reflector.trouble == ""  # once is nothing
    delays = [driver.delay_s]
    for _ in range(5):
        driver.refuse(503, "ServiceUnavailable", "not yet")
        delays.append(driver.delay_s)
        assert driver.reflector.trouble == "503 ServiceUnavailable not yet"
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    driver.answer(200)
    assert driver.reflector.trouble == ""
    driver.now += 15.9  # less than twice the last delay: it is not well yet
    driver.reflector.lost(driver.now, "connection reset by peer")
    assert driver.delay_s == 8.0
    driver.answer(200)
    driver.now += 16.1
    driver.reflector.lost(driver.now, "connection reset by peer")
    assert driver.delay_s == 1.0


def test_a_server_that_is_not_reached_is_tried_again_soon() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    delays = []
    for _ in range(4):
        driver.ask()
        driver.reflector.lost(driver.now, "connection refused")
        delays.append(driver.delay_s)
    assert delays == [0.5, 1.0, 1.0, 1.0]
    assert driver.reflector.trouble == "connection refused"
    assert parameters(driver.answer(200))["resourceVersion"] == "5"
    assert driver.reflector.trouble == ""


def test_what_fails_behind_tcp_waits_longer() -> None:
    driver = Driver()
    delays = []
    for _ in range(3):
        driver.ask()
        driver.reflector.lost(driver.now, "its certificate is not accepted", reached=True)
        delays.append(driver.delay_s)
    assert delays == [1.0, 2.0, 4.0]


def test_a_wait_can_be_cut_short() -> None:
    """But not what the server asked for, nor the delay between lists."""
    driver = Driver()
    driver.follow()
    driver.reflector.lost(driver.now, "connection reset by peer")
    assert driver.reflector.failing
    driver.reflector.hasten(driver.now + 0.1)
    assert driver.delay_s == pytest.approx(0.1)
    driver.refuse(503, "Busy", retry_after="30")
    driver.reflector.hasten(driver.now)
    assert driver.delay_s == pytest.approx(33.0)
    driver.refuse(401, "Unauthorized")
    assert driver.reflector.ours
    driver.answer(200, b"garbled\n")
    assert driver.delay_s == 8.0
    driver.reflector.hasten(driver.now)
    assert driver.delay_s == 4.0, "it wants a new list"
    driver.answer(200)
    assert not driver.reflector.failing


@pytest.mark.parametrize("how", ["lost", "ends in a line"])
def test_a_watch_that_is_cut_again_and_again_goes_on_soon(how: str) -> None:
    driver = Driver(replace(TIMING, resume_s=1.5))
    driver.follow()
    delays = []
    for _ in range(4):
        if how == "lost":
            driver.reflector.lost(driver.now, "connection reset by peer", reached=True)
        else:
            driver.reflector.data(driver.now, b'{"type":"ADD')
            driver.reflector.end(driver.now)
        delays.append(driver.delay_s)
        assert parameters(driver.answer(200))["resourceVersion"] == "5"
    assert delays == [1.0, 1.5, 1.5, 1.5]
    driver.reflector.end(driver.now)
    assert driver.delay_s == 8.0, "one that the server ended at once waits longer"


def test_a_server_that_has_just_started_may_not_know_us_yet() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    driver.refuse(403, "Forbidden")
    assert (driver.reflector.ours, driver.reflector.patient) == (True, False)
    driver.now += TIMING.start_up_s
    driver.refuse(403, "Forbidden")
    assert driver.reflector.patient
    driver.answer(200)
    driver.now += 100
    driver.reflector.end(driver.now)
    driver.refuse(403, "Forbidden")
    assert not driver.reflector.patient


def test_history_that_is_lost_is_no_failure() -> None:
    """So it waits by the series of lists alone, however long the server was away before."""
    driver = Driver()
    driver.follow()
    driver.reflector.lost(driver.now, "connection reset by peer")
    for _ in range(5):
        driver.refuse(503, "ServiceUnavailable")
    assert driver.delay_s == 8.0
    driver.refuse(410, "Expired")
    assert driver.delay_s == 4.0


def test_lists_wait_by_a_series_of_their_own() -> None:
    driver = Driver()
    driver.follow()
    delays = []
    for _ in range(4):
        driver.reflector.data(driver.now, line("ERROR", EXPIRED))
        delays.append(driver.delay_s)
        driver.answer(200, bookmark(5, end=True))
        driver.now += 20
    assert delays == [4.0, 8.0, 16.0, 32.0]
    driver.now += 64
    driver.reflector.data(driver.now, line("ERROR", EXPIRED))
    assert driver.delay_s == 4.0


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(code: int) -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    driver.refuse(code, "Busy", retry_after="30")
    assert driver.delay_s == pytest.approx(33.0)  # a tenth is jitter
    assert driver.reflector.poll(driver.now + 32.9) is None


@pytest.mark.parametrize("text", ["", "soon", "-3", "Fri, 31 Dec 1999 23:59:59 GMT", "²"])
def test_a_retry_after_that_is_no_number_is_passed_over(text: str) -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    driver.refuse(503, "Busy", retry_after=text)
    assert driver.delay_s == 1.0


def test_the_delay_of_a_status_in_the_stream_is_honoured() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.data(driver.now, line("ERROR", texts.status(429, "TooManyRequests", retry_after=20)))
    assert driver.delay_s == pytest.approx(22.0)
    assert parameters(driver.ask())["resourceVersion"] == "5"


@pytest.mark.parametrize(
    ("code", "message", "relist"),
    [
        (400, "resourceVersion: Invalid value", True),
        (504, "Timeout: Too large resource version: 99, current: 5", True),
        (500, "etcdserver: leader changed", False),
        (403, "services is forbidden", False),
        (401, "Unauthorized", False),
    ],
)
def test_a_version_that_the_server_does_not_take_is_dropped(code: int, message: str, relist: bool) -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    driver.refuse(code, "Reason", message)
    assert driver.reflector.status == code
    assert message in driver.reflector.trouble
    assert (driver.ask().purpose is Purpose.STREAMED_LIST) == relist


def test_a_watch_that_ends_at_once_is_a_failure() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    driver.answer(200, end=True)
    assert driver.delay_s == 1.0


def test_a_cut_in_the_middle_of_an_event_goes_on_before_it() -> None:
    driver = Driver()
    driver.follow()
    event = line("ADDED", service("new", 8))
    driver.reflector.data(driver.now, event[:-10])
    driver.reflector.end(driver.now)
    assert driver.delay_s == 1.0
    assert parameters(driver.answer(200, event))["resourceVersion"] == "5"
    assert [change.key for change in driver.reflector.take()] == ["default/new"]


def test_a_stream_that_is_no_json_is_a_new_list() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.data(driver.now, b"<html>\n")
    assert driver.reflector.idle
    assert driver.ask().purpose is Purpose.STREAMED_LIST


def expire(driver: Driver, patience_s: float) -> None:
    assert driver.reflector.deadline == driver.now + patience_s
    driver.now = driver.reflector.deadline
    driver.reflector.expired(driver.now)
    assert driver.reflector.idle


def test_every_phase_has_a_deadline() -> None:
    driver = Driver()
    driver.ask()
    expire(driver, 10.0)
    assert driver.reflector.trouble == "no connection"
    driver.ask()
    driver.reflector.connected(driver.now)
    expire(driver, 30.0)
    assert driver.reflector.trouble == "no answer"
    driver.answer(200)
    driver.now += 20
    driver.reflector.data(driver.now, line("ADDED", service("a"))[:5])
    expire(driver, 30.0)
    driver.answer(200, page([], 5)[:10])
    expire(driver, 30.0)
    assert driver.reflector.trouble == "silence in a list"
    driver.answer(200, page([], 5), end=True)
    driver.answer(200)
    driver.now += 100
    driver.reflector.data(driver.now, bookmark(6))
    expire(driver, 150.0)
    driver.answer(500, b"half a sta")
    expire(driver, 30.0)
    assert driver.reflector.trouble == "500 half a sta"


def test_a_body_that_nobody_asked_for() -> None:
    driver = Driver()
    driver.ask()
    driver.reflector.data(driver.now, b"x")
    assert driver.reflector.phase is Phase.IDLE


def test_a_long_error_is_not_read_to_its_end() -> None:
    driver = Driver()
    driver.answer(502, b"x" * 70_000)
    assert driver.reflector.idle


def test_an_optional_resource_that_is_not_served_is_an_empty_list_until_it_is() -> None:
    driver = Driver()
    driver.reflector = Reflector(SERVICE_CIDRS, lambda: 1.0, TIMING)
    driver.refuse(404, "NotFound", "the server could not find the requested resource")
    assert (driver.reflector.synced, driver.reflector.absent, driver.reflector.trouble) == (True, True, "")
    assert driver.delay_s == TIMING.absent_again_s
    driver.answer(200, line("ADDED", texts.service_cidr("kubernetes", "10.96.0.0/16")), bookmark(5, end=True))
    assert not driver.reflector.absent
    assert [change.key for change in driver.reflector.take()] == ["kubernetes"]
    driver.now += 100
    driver.reflector.end(driver.now)
    driver.refuse(404, "NotFound")
    assert driver.reflector.absent
    assert [(change.key, change.obj) for change in driver.reflector.take()] == [("kubernetes", None)]


def test_a_resource_that_is_needed_and_not_served_is_a_trouble() -> None:
    driver = Driver()
    driver.refuse(404, "NotFound", "nothing here")
    assert not driver.reflector.synced
    assert driver.reflector.trouble.startswith("404 NotFound nothing here - ")
    assert not driver.reflector.server_wide


@pytest.mark.parametrize(("status", "expected"), [(401, True), (429, True), (503, True), (403, False), (500, False)])
def test_some_refusals_are_the_servers_and_some_the_resources(status: int, expected: bool) -> None:
    driver = Driver()
    driver.refuse(status, "Told", "so")
    assert driver.reflector.trouble
    assert driver.reflector.server_wide is expected
