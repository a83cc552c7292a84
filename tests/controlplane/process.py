"""One server program of the control plane: start it in a namespace, end it, read the end of its log."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.lab.namespace import Namespace


class Program:
    """A process that can be started again after it has ended; its output is added to `log`."""

    def __init__(self, namespace: Namespace, argv: Sequence[str | Path], log: Path) -> None:
        self.argv = list(argv)
        self.log = log
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        namespace.run_of.on_close(self.kill)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = self._namespace.popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self, timeout_s: float = 20.0) -> None:
        """End it with SIGTERM and wait; one that does not end in time is killed."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it with SIGKILL and wait."""
        self._end(signal.SIGKILL, 10.0)

    def check(self) -> None:
        """RuntimeError with the end of the log when it does not run."""
        if not self.running:
            raise RuntimeError(f"{self.log.stem} has ended:\n{self.log_tail()}")

    def log_tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self, number: signal.Signals, timeout_s: float) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(scaled(timeout_s))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None
