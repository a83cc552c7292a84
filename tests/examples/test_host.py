"""The comparison of the machine before and after."""

from __future__ import annotations

import pytest

from examples.demo.host import differences, snapshot


@pytest.mark.root
def test_this_machine_is_like_itself() -> None:
    before = snapshot()
    assert before["sysctls"]
    assert differences(before, snapshot()) == []


def test_what_came_and_what_went_is_named() -> None:
    before = {"IPv4 routes": ("default via 192.0.2.1", "10.0.0.0/8 dev eth0"), "addresses": ("1: lo",)}
    after = {"IPv4 routes": ("default via 192.0.2.1", "10.96.0.0/16 dev eth0"), "addresses": ("1: lo",)}
    assert differences(before, after) == ["IPv4 routes: 1 lines more, 1 less, such as: 10.96.0.0/16 dev eth0"]
