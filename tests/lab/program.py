"""A program as a process in a namespace: start it, end it, start it again, read the end of its log."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.lab.namespace import Namespace


class Program:
    """A process that can be started again after it has ended, as a service manager would.

    Its standard error and output are added to `log`. `env` is its whole environment; without it, that of the run.
    """

    def __init__(
        self, namespace: Namespace, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self.env = dict(namespace.run_of.env if env is None else env)
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        namespace.run_of.on_close(self.kill)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or if it never did."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = self._namespace.popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env
            )

    def stop(self, timeout_s: float = 20.0) -> int:
        """End it with SIGTERM and wait; returns the exit code. One that does not end in time is killed (code -9)."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> int:
        """End it with SIGKILL and wait."""
        return self._end(signal.SIGKILL, 10.0)

    def check(self) -> None:
        """RuntimeError with the end of the log when it does not run."""
        if not self.running:
            raise RuntimeError(f"{self.log.stem} has ended:\n{self.log_tail()}")

    def log_tail(self, lines: int = 25) -> str:
        """The last lines it wrote."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(the log is empty)"

    def _end(self, number: signal.Signals, timeout_s: float) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(scaled(timeout_s))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None
        return process.returncode
