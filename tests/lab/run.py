"""One run of the lab: its unique name, its scratch directory, and the promise that nothing stays behind.

Every run holds a lock on a file of its own for as long as it lives. A run whose lock can be taken is dead (also after a
power cut or SIGKILL, also when its process id has been given to somebody else), and the next run removes what it left.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

RUNS = Path("/run/kproxy-lab")
NETNS = Path("/run/netns")
PREFIX = "kplab-"

_counter = itertools.count(1)


def scaled(seconds: float) -> float:
    """A time-out, made longer on slow machines: times KPROXY_LAB_SCALE (default 1)."""
    return seconds * float(os.environ.get("KPROXY_LAB_SCALE", "1"))


class Run:
    """The identity and the cleaning up of one lab. Use as a context manager.

    `name` is unique on this machine and is the prefix of every namespace of the run; `directory` is private scratch
    space; `env` is the environment for every child process (a private xtables lock, so that the host's is not taken).
    """

    def __init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(_counter)}"
        self.directory = RUNS / self.name
        self.env = {**os.environ, "XTABLES_LOCKFILE": str(self.directory / "xtables.lock")}
        self._exit = contextlib.ExitStack()
        self._owner = os.getpid()
        self._lock: IO[str] | None = None
        self._restore_signals: Callable[[], None] | None = None

    def __enter__(self) -> Run:
        with _all_runs_locked():
            _sweep()
            self.directory.mkdir()
            self._lock = _try_lock(self.directory / "lock")
        atexit.register(self.close)
        self._restore_signals = _exit_on_sigterm()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def on_close(self, action: Callable[[], object]) -> None:
        """Call `action` when the run ends, in reverse order of registration."""
        self._exit.callback(action)

    def close(self) -> None:
        """End the run: the registered actions, then every namespace, then the directory. May be called twice."""
        if self._lock is None or os.getpid() != self._owner:
            return
        with _undisturbed():
            try:
                self._exit.close()
            finally:
                _remove_namespaces(f"{self.name}-")
                shutil.rmtree(self.directory, ignore_errors=True)
                self._lock.close()
                self._lock = None
                atexit.unregister(self.close)
                if self._restore_signals:
                    self._restore_signals()


def sweep() -> list[str]:
    """Remove what dead runs left behind; returns their names."""
    with _all_runs_locked():
        return _sweep()


def _sweep() -> list[str]:
    swept = []
    for directory in sorted(RUNS.glob(f"{PREFIX}*")):
        lock = _try_lock(directory / "lock")
        if lock is None:
            continue
        _remove_namespaces(f"{directory.name}-")
        shutil.rmtree(directory, ignore_errors=True)
        lock.close()
        swept.append(directory.name)
    return swept


@contextlib.contextmanager
def _all_runs_locked() -> Iterator[None]:
    """Hold the lock under which runs begin and dead runs are swept, so that no run is swept while it begins."""
    RUNS.mkdir(parents=True, exist_ok=True)
    with (RUNS / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _try_lock(path: Path) -> IO[str] | None:
    """The open, locked file, or None when a living process holds the lock."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _remove_namespaces(prefix: str) -> None:
    from pyroute2 import netns

    if not NETNS.is_dir():
        return
    found = {path.name: path for path in NETNS.iterdir() if path.name.startswith(prefix)}
    _kill_processes_in(found.values())
    for name in found:
        with contextlib.suppress(FileNotFoundError):
            netns.remove(name)


def _kill_processes_in(namespaces: Iterable[Path]) -> None:
    """SIGKILL everything that still runs in one of these namespaces, which are the lab's own."""
    inodes = {path.stat().st_ino for path in namespaces if path.exists()}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if (process / "ns/net").stat().st_ino in inodes:
                os.kill(int(process.name), signal.SIGKILL)


def _exit_on_sigterm() -> Callable[[], None]:
    """Make SIGTERM and SIGHUP unwind the stack like Ctrl-C does, where nobody else handles them."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def leave(number: int, _frame: FrameType | None) -> None:
        # Not SystemExit: pytest takes that for the failure of one test and goes on.
        raise KeyboardInterrupt(signal.Signals(number).name)

    def restore() -> None:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)

    for number in taken:
        signal.signal(number, leave)
    return restore


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No Ctrl-C while namespaces are being removed; a second one is common and would leave half of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
