"""Network namespaces: make one, work inside it from a thread, start a program in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tests.lab.run import NETNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.lab.run import Run

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_SHARED = 0x1000, 0x4000, 0x100000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Namespace:
    """A network namespace of a run, under /run/netns, so `ip netns exec NAME ...` works on it while it lives."""

    def __init__(self, run: Run, role: str) -> None:
        self.run_of = run
        self.role = role
        self.name = f"{run.name}-{role}"
        self.path = NETNS / self.name
        _in_thread(lambda: _create(self.path))

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    def call(self, work: Callable[[], T]) -> T:
        """Run `work()` in a thread inside the namespace. Sockets made there stay in it; /proc/sys/net is its own."""

        def inside() -> T:
            with self.path.open() as file:
                _check(_libc.setns(file.fileno(), CLONE_NEWNET), f"enter {self.name}")
            return work()

        return _in_thread(inside)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A new socket that belongs to this namespace; usable from any thread."""
        return self.call(lambda: socket.socket(family, kind, protocol))

    def command(self, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
        """`argv`, made to run in the namespace."""
        return ["nsenter", f"--net={self.path}", "--", *(os.fspath(word) for word in argv)]

    def run(self, *argv: str, stdin: str | None = None, check: bool = True, timeout_s: float = 60) -> str:
        """Run a command inside and return its standard output; the error names what it wrote to standard error."""
        done = subprocess.run(
            self.command(argv),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.run_of.env,
            timeout=timeout_s,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)} in {self.role}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def popen(self, argv: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Start a command inside, in a session of its own: a Ctrl-C in the terminal reaches the lab alone."""
        options.setdefault("env", self.run_of.env)
        return subprocess.Popen(self.command(argv), start_new_session=True, **options)

    def sysctl(self, settings: Mapping[str, str | int]) -> None:
        """Write sysctls, `{"net/ipv4/ip_forward": 1}`; those this kernel does not have are passed over."""

        def write() -> None:
            for key, value in settings.items():
                with contextlib.suppress(FileNotFoundError):
                    Path("/proc/sys", key).write_text(str(value))

        self.call(write)


class Doorway:
    """Makes sockets in many namespaces from one thread, for callers that need thousands and own that thread."""

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._doors: dict[Path, int] = {}

    @contextlib.contextmanager
    def inside(self, namespace: Namespace) -> Iterator[None]:
        """The current thread is in `namespace` within the block. Never yield to other code of this thread inside."""
        door = self._doors.get(namespace.path)
        if door is None:
            door = self._doors[namespace.path] = os.open(namespace.path, os.O_RDONLY)
        _check(_libc.setns(door, CLONE_NEWNET), f"enter {namespace.name}")
        try:
            yield
        finally:
            _check(_libc.setns(self._home, CLONE_NEWNET), "leave a namespace")

    def close(self) -> None:
        for fd in (self._home, *self._doors.values()):
            os.close(fd)


def _create(path: Path) -> None:
    """`ip netns add`, in the calling thread, which keeps the new namespace and must end soon.

    pyroute2's netns.create() does the same in a forked child, but this program has threads.
    """
    path.parent.mkdir(exist_ok=True)
    parent = os.fsencode(path.parent)
    if _libc.mount(b"", parent, b"none", MS_SHARED | MS_REC, None) != 0:
        _check(_libc.mount(parent, parent, b"none", MS_BIND | MS_REC, None), f"mount {path.parent}")
        _check(_libc.mount(b"", parent, b"none", MS_SHARED | MS_REC, None), f"share {path.parent}")
    path.touch(mode=0, exist_ok=False)
    try:
        _check(_libc.unshare(CLONE_NEWNET), "make a network namespace (root is needed)")
        _check(
            _libc.mount(b"/proc/thread-self/ns/net", os.fsencode(path), b"none", MS_BIND, None),
            f"mount {path}",
        )
    except OSError:
        path.unlink()
        raise


class _Outcome(Generic[T]):
    value: T
    error: BaseException | None = None


def _in_thread(work: Callable[[], T]) -> T:
    """Run `work()` in a new thread that ends with it, so that no thread is left in a namespace."""
    outcome: _Outcome[T] = _Outcome()

    def body() -> None:
        try:
            outcome.value = work()
        except BaseException as error:  # noqa: BLE001 (handed to the caller, whatever it is)
            outcome.error = error

    thread = threading.Thread(target=body, name="lab-namespace")
    thread.start()
    try:
        thread.join()
    except BaseException:
        thread.join()
        raise
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
