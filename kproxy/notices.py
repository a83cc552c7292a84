"""What the log says about objects and settings: what is refused, mended, doubted, what goes to DNS. Each once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kproxy.logs import log_some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.metrics.registry import Metrics
    from kproxy.state.cluster import ClusterState

log = logging.getLogger(__name__)


class Notices:
    """Compares with what was said before, and says what is new."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._problems: dict[str, None] = {}
        self._warnings: dict[str, None] = {}
        self._dns: dict[str, str] = {}
        self._seen: tuple[int, list[Exception], list[str]] = (-1, [], [])
        self.told = False

    def tell(self, state: ClusterState, problems: Iterable[Exception], doubts: Iterable[str] = ()) -> None:
        """Log what changed since the last call, and count the problems there are at present.

        `problems` are those of others, beside the state's; `doubts` are about settings. Where there is nothing new it
        costs next to nothing.
        """
        seen = (state.remarks, list(problems), list(doubts))
        if seen == self._seen:
            return
        self._seen = seen
        now = dict.fromkeys(str(problem) for problem in (*seen[1], *state.problems()))
        self._metrics.source_errors.set(len(now))
        log_some(log, logging.ERROR, "refused: %s", [text for text in now if text not in self._problems])
        log_some(log, logging.INFO, "mended: %s", [text for text in self._problems if text not in now])
        self._problems = now
        warnings = dict.fromkeys((*seen[2], *state.warnings()))
        log_some(log, logging.WARNING, "%s", [text for text in warnings if text not in self._warnings])
        self._warnings = warnings
        dns = dict(state.handed_to_dns())
        new = [f"{key} ({why})" for key, why in dns.items() if self._dns.get(key) != why]
        log_some(log, logging.INFO, "no rules, handed to DNS: %s", new)
        self._dns = dns
        self.told = True
