"""What a reflector makes of answers: what it holds, and what changed."""

from __future__ import annotations

import pytest

from kproxy.kube.reflector import Reflector
from kproxy.kube.requests import Phase, Purpose
from kproxy.kube.resources import ENDPOINT_SLICES, SERVICE_CIDRS, own_node
from tests.kube import texts
from tests.kube.driver import SELECTORS, STREAMED, TIMING, Driver, parameters
from tests.kube.texts import EXPIRED, bookmark, line, page, service


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
