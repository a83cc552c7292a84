"""The program under test, as a process on a node: start it, wait until it is ready, read what it says, end it."""

from __future__ import annotations

import http.client
import itertools
import re
import time
from typing import TYPE_CHECKING

from tests.lab.httpget import Response, get
from tests.lab.program import Program
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


class Agent(Program):
    """One process of the program under test. `argv` is its whole command line; it runs in the node's namespace."""

    def __init__(
        self,
        node: Namespace,
        argv: Sequence[str],
        families: Sequence[Family],
        env: Mapping[str, str] | None = None,
    ) -> None:
        log = node.run_of.directory / f"agent-{next(_number)}.log"
        super().__init__(node, argv, log, {**node.run_of.env, **(env or {})})
        self.node = node
        self._families = families

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait for the first sync of every family. RuntimeError with the end of the log when it does not come."""
        try:
            eventually(self._is_ready, "the agent is ready", timeout_s)
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self.log_tail()}") from None

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
            raise RuntimeError(f"the agent ended with code {self.exit_code} before it was ready:\n{self.log_tail()}")
        try:
            return self.health().status == 200 and all(self.last_sync().values())
        except (OSError, http.client.HTTPException):
            return False
