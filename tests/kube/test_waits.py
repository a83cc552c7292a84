"""When a reflector asks again after a failure, and what is told of it meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kube import texts
from tests.kube.driver import TIMING, Driver, parameters
from tests.kube.texts import EXPIRED, bookmark, line


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


def test_a_watch_that_ends_at_once_is_a_failure() -> None:
    driver = Driver()
    driver.follow()
    driver.reflector.end(driver.now)
    driver.answer(200, end=True)
    assert driver.delay_s == 1.0


@pytest.mark.parametrize(("status", "expected"), [(401, True), (429, True), (503, True), (403, False), (500, False)])
def test_some_refusals_are_the_servers_and_some_the_resources(status: int, expected: bool) -> None:
    driver = Driver()
    driver.refuse(status, "Told", "so")
    assert driver.reflector.trouble
    assert driver.reflector.server_wide is expected
