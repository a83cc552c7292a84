"""The program under test, as a process on a node: start it, wait until it is ready, read what it says, end it."""

from __future__ import annotations

import http.client
import itertools
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from tests.lab.httpget import Response, get
from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.lab.addresses import Family
    from tests.lab.namespace import Namespace

HEALTH_PORT, METRICS_PORT = 10256, 10249
LAST_SYNC = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
METRIC_FAMILY: dict[Family, str] = {"ipv4": "IPv4", "ipv6": "IPv6"}

_number = itertools.count(1)


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 10.0, pause_s: float = 0.02) -> None:
    """Wait until `condition()` is true. Raises TimeoutError naming `what` when it never is within the (scaled) time."""
    deadline = time.monotonic() + scaled(timeout_s)
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {scaled(timeout_s):g} s in vain: {what}")
        time.sleep(pause_s)


class Agent:
    """One process of the program under test. `argv` is its whole command line; it runs in the node's namespace.

    Its standard error and output go to `log`. It can be started again after it has ended, as a service manager would.
    """

    def __init__(
        self,
        node: Namespace,
        argv: Sequence[str],
        families: Sequence[Family],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.node = node
        self.argv = list(argv)
        self._families = families
        self.env = {**node.run_of.env, **(env or {})}
        self.log = node.run_of.directory / f"agent-{next(_number)}.log"
        self._process: subprocess.Popen[bytes] | None = None
        node.run_of.on_close(self.kill)

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = self.node.popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait for the first sync of every family. RuntimeError with the end of the log when it does not come."""
        try:
            eventually(self._is_ready, "the agent is ready", timeout_s)
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self.log_tail()}") from None

    def stop(self, timeout_s: float = 10.0) -> int:
        """End it with SIGTERM and wait; returns the exit code. One that does not end in time is killed (code -9)."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> int:
        """End it with SIGKILL."""
        return self._end(signal.SIGKILL, 10.0)

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

    def log_tail(self, lines: int = 25) -> str:
        """The last lines it wrote."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(the log is empty)"

    def health(self, path: str = "/healthz", address: str = "127.0.0.1") -> Response:
        """GET on the health port, from the node itself."""
        return get(self.node, address, HEALTH_PORT, path)

    def metrics(self) -> str:
        """The metrics page as text."""
        return get(self.node, "127.0.0.1", METRICS_PORT, "/metrics").body

    def metric(self, name: str, **labels: str) -> float | None:
        """The first sample of that name that has these labels; None when there is none."""
        for line in self.metrics().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                return float(match[2])
        return None

    def last_sync(self) -> dict[Family, float]:
        """When each family was last synced, in seconds since the epoch; 0 for never."""
        return {family: self.metric(LAST_SYNC, ip_family=METRIC_FAMILY[family]) or 0.0 for family in self._families}

    def _is_ready(self) -> bool:
        if not self.running:
            code = self._process.returncode if self._process else None
            raise RuntimeError(f"the agent ended with code {code} before it was ready:\n{self.log_tail()}")
        try:
            return self.health().status == 200 and all(self.last_sync().values())
        except (OSError, http.client.HTTPException):
            return False
