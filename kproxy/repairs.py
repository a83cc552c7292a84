"""Has what others did to the rules put right: at once, and, where they keep on, twice a second."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kproxy.dataplane.mode import Drift
    from kproxy.metrics.registry import Metrics
    from kproxy.state.addresses import Family

log = logging.getLogger(__name__)

INTERVAL_S = 0.5


class Repairs:
    """Listens to `drift` in the running event loop, and calls `repair` with the families that were changed."""

    def __init__(self, drift: Drift, metrics: Metrics, repair: Callable[[Collection[Family]], None]) -> None:
        self._drift = drift
        self._metrics = metrics
        self._repair = repair
        self._pending: dict[Family, list[str]] = {}
        self._repaired_at = float("-inf")
        self._due: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen."""
        asyncio.get_running_loop().add_reader(self._drift, self.look)

    def stop(self) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._drift)
        if self._due is not None:
            self._due.cancel()
        self._drift.close()

    def look(self) -> None:
        """Take up what there is to tell; to be called also after a sync, which may have kept us from listening."""
        for family, changes in self._drift.read().items():
            self._metrics.family(family).foreign_changes.inc(len(changes))
            self._pending.setdefault(family, []).extend(changes)
        if self._pending and self._due is None:
            loop = asyncio.get_running_loop()
            self._due = loop.call_at(max(loop.time(), self._repaired_at + INTERVAL_S), self._put_right)

    def _put_right(self) -> None:
        pending, self._pending, self._due = self._pending, {}, None
        self._repaired_at = asyncio.get_running_loop().time()
        for family, changes in pending.items():
            more = f" (and {len(changes) - 1} more times)" if len(changes) > 1 else ""
            log.warning("%s: our rules were changed, restoring them: %s%s", family, changes[0], more)
        self._repair(pending.keys())
