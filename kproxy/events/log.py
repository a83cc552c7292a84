"""Events as lines of the log: all there is without an API server."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from kproxy.events.series import EventSeries

if TYPE_CHECKING:
    from kproxy.events.event import Event, Report

log = logging.getLogger(__name__)


class EventLog:
    """Takes events, and logs each once, what goes on happening every half hour. It neither waits nor fails."""

    def __init__(self) -> None:
        self._series = EventSeries()

    def record(self, event: Event) -> None:
        """Tell that something happened. For the thread of the event loop (or before there is one)."""
        report = self._series.happened(event, time.monotonic(), time.time())
        if report is None:
            return
        text = f"{event.subject}: {event.reason}" + (f": {event.note}" if event.note else "")
        text += f" ({report.count} times)" if report.count > 1 else ""
        log.log(logging.WARNING if event.type == "Warning" else logging.INFO, "%s", text)
        self._tell(report)

    async def run(self) -> None:
        """Send what is recorded until cancelled. Here nothing is."""
        await asyncio.Event().wait()

    async def flush(self, patience_s: float) -> None:
        """Wait until everything is sent, but not longer than that. Here nothing is."""

    def _tell(self, report: Report) -> None:
        """Tell somebody else."""
