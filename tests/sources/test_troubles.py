"""What hinders is said once, and again only after it was over."""

from __future__ import annotations

from kproxy.sources.troubles import MAX_TOLD, Trouble, Troubles

AWAY, REFUSED = Trouble("", "connection refused"), Trouble("services", "403 Forbidden")


def test_what_hinders_all_alike_is_said_once() -> None:
    troubles = Troubles()
    assert troubles.news([AWAY]) == ([AWAY], [])
    assert troubles.news([AWAY, AWAY, AWAY]) == ([], [])
    assert troubles.news([AWAY]) == ([], [])
    assert troubles.news([]) == ([], [""])
    assert troubles.news([]) == ([], [])
    assert troubles.news([AWAY]) == ([AWAY], [])


def test_what_alternates_is_said_once_each() -> None:
    troubles = Troubles()
    other = Trouble("", "no answer")
    assert troubles.news([AWAY]) == ([AWAY], [])
    assert troubles.news([other, AWAY]) == ([other], [])
    assert troubles.news([AWAY]) == ([], [])
    assert troubles.news([other]) == ([], [])


def test_resources_are_told_apart() -> None:
    troubles = Troubles()
    nodes = Trouble("nodes", "403 Forbidden")
    assert troubles.news([REFUSED, nodes]) == ([REFUSED, nodes], [])
    assert troubles.news([nodes]) == ([], ["services"])
    assert troubles.news([AWAY]) == ([AWAY], ["nodes"])


def test_a_reason_that_is_another_one_each_time_is_told_for_a_while() -> None:
    """As from a gateway that puts a number into every error: neither the log nor what is remembered fills up."""
    troubles = Troubles()
    told = [troubles.news([Trouble("", f"502 request {number}")])[0] for number in range(10 * MAX_TOLD)]
    assert sum(map(len, told)) == MAX_TOLD
    assert troubles.news([]) == ([], [""])
    assert troubles.news([AWAY]) == ([AWAY], [])
