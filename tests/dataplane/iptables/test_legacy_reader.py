"""The lock around python-iptables' looks. What it reads is compared with iptables-save in the lab."""

from __future__ import annotations

import fcntl
import sys
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables.legacy_reader import read_chains, xtables_lock
from kproxy.errors import FeatureMissing, LockHeld
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "xtables.lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(path))
    return path


def test_the_lock_is_held_and_given_back(lock: Path) -> None:
    with xtables_lock(), pytest.raises(BlockingIOError), lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_lock_is_given_back_after_an_error(lock: Path) -> None:
    with pytest.raises(ValueError, match="inside"), xtables_lock():
        raise ValueError("inside")
    with xtables_lock(0):
        pass


def test_who_holds_the_lock_is_named(lock: Path) -> None:
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockHeld, match=r"the xtables lock is held by .+ \(pid \d+\) - try again"), xtables_lock(0):
            pass


def test_without_python_iptables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iptc", None)
    with pytest.raises(FeatureMissing, match="python-iptables is not installed - pip install"):
        read_chains(Family.IPV4, "nat")
