"""Who holds the xtables lock, from a /proc that the test made."""

from __future__ import annotations

from pathlib import Path

import pytest

from kproxy.dataplane.iptables.lock import DEFAULT_LOCK, lock_holder, lock_path


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "xtables.lock"
    path.touch()
    return path


def make_proc(tmp_path: Path, locks: str, commands: dict[int, str]) -> Path:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "locks").write_text(locks)
    for pid, command in commands.items():
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "comm").write_text(f"{command}\n")
    return proc


def line(number: int, pid: int, inode: int, *, waits: bool = False) -> str:
    arrow = "-> " if waits else ""
    return f"{number}: {arrow}FLOCK  ADVISORY  WRITE {pid} fe:00:{inode} 0 EOF\n"


def test_the_holder_is_named(tmp_path: Path, lock: Path) -> None:
    inode = lock.stat().st_ino
    locks = line(1, 11, inode + 1) + line(2, 4711, inode) + line(2, 12, inode, waits=True)
    proc = make_proc(tmp_path, locks, {11: "sshd", 12: "kproxy", 4711: "kubelet"})
    assert lock_holder(lock, proc) == "kubelet (pid 4711)"


def test_who_waits_is_not_who_holds(tmp_path: Path, lock: Path) -> None:
    inode = lock.stat().st_ino
    proc = make_proc(tmp_path, line(2, 12, inode, waits=True), {12: "kproxy"})
    assert lock_holder(lock, proc) == ""


def test_another_pid_namespace(tmp_path: Path, lock: Path) -> None:
    proc = make_proc(tmp_path, line(2, 4711, lock.stat().st_ino), {})
    assert lock_holder(lock, proc) == "a process in another PID namespace (pid 4711)"


@pytest.mark.parametrize("locks", ["", "\n", "odd\n", "1: POSIX  ADVISORY\n"])
def test_nobody(tmp_path: Path, lock: Path, locks: str) -> None:
    assert lock_holder(lock, make_proc(tmp_path, locks, {})) == ""


def test_no_lock_file_and_no_proc(tmp_path: Path, lock: Path) -> None:
    assert lock_holder(tmp_path / "none", make_proc(tmp_path, "", {})) == ""
    assert lock_holder(lock, tmp_path / "no-proc") == ""


def test_a_real_lock(tmp_path: Path, lock: Path) -> None:
    import fcntl

    command = Path("/proc/self/comm").read_text().strip()
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(lock).startswith(f"{command} (pid ")
    assert lock_holder(lock) == ""


def test_where_the_lock_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XTABLES_LOCKFILE", raising=False)
    assert lock_path() == Path(DEFAULT_LOCK) == Path("/run/xtables.lock")
    monkeypatch.setenv("XTABLES_LOCKFILE", "/somewhere/else")
    assert lock_path() == Path("/somewhere/else")
