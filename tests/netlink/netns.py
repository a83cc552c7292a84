"""A network namespace without a name: it belongs to one thread and is gone when that thread ends, whatever happens.

Nothing is left behind even after SIGKILL, and the namespace of the test process itself is never changed.
"""

from __future__ import annotations

import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

CLONE_NEWNET = 0x40000000


class PrivateNetns:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._last: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        try:
            self._thread.submit(_unshare).result()
            self.tool("ip", "link", "set", "lo", "up")
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for work in self._last:
            work()
        self._thread.shutdown()

    def on_exit(self, work: Callable[[], None]) -> None:
        """Do this before the namespace goes."""
        self._last.append(work)

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` inside the namespace and return what it returns."""
        return self._thread.submit(work).result()

    def tool(self, *command: str, stdin: str = "") -> str:
        """Run a program inside the namespace and return its output; it must succeed."""
        done = self.attempt(*command, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def attempt(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program inside the namespace, whatever comes of it."""
        return self.run(lambda: subprocess.run(command, input=stdin, capture_output=True, text=True, check=False))

    def conntrack(self, *lines: str) -> None:
        """Run lines of arguments of the conntrack tool ("-I -p udp ..."), all in one process."""
        self.tool("conntrack", "--load-file", "-", stdin="".join(f"{line}\n" for line in lines))


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
