"""How a reflector gets a list: streamed, in pages, or in one piece."""

from __future__ import annotations

import pytest

from kproxy.kube.requests import Purpose
from tests.kube import texts
from tests.kube.driver import SELECTORS, Driver, parameters
from tests.kube.texts import EXPIRED, line, page, service


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
