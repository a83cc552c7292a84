"""Creates Events at the API server, besides logging them. It never holds anybody up."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kproxy.errors import KproxyError
from kproxy.events.event import collection, encode
from kproxy.events.log import EventLog
from kproxy.events.outbox import Outbox
from kproxy.kube.client import ApiClient
from kproxy.kube.remedies import told
from kproxy.kube.resources import EVENTS
from kproxy.kube.stream import read_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.events.event import Report
    from kproxy.kube.client import Exchange
    from kproxy.kube.credentials import Credentials

log = logging.getLogger(__name__)

THERE: Final = 409
"""An earlier attempt did reach the server, though its answer did not reach us."""

FOR_GOOD: Final = frozenset({400, 404, 405, 413, 415, 422})
"""Statuses that a second attempt does not change; 404: the namespace is gone, or the server too old."""


class EventSender(EventLog):
    """What can't be sent is said once, and tried again for a while; `run` ends only when it is cancelled."""

    def __init__(
        self, credentials: Credentials, node_name: str, observe: Callable[[Exchange], None] | None = None
    ) -> None:
        super().__init__()
        self._client = ApiClient(credentials, observe) if observe else ApiClient(credentials)
        self._node_name = node_name
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._trouble = ""
        self._dropped = 0

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            report = self._outbox.take(clock())
            if report is not None:
                await self._send(report)
                continue
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._outbox.wait_s(clock()))

    async def flush(self, patience_s: float) -> None:
        """Send what waits, for the process is about to end; what is not sent by then is lost."""
        clock = asyncio.get_running_loop().time
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while (wait_s := self._outbox.wait_s(clock())) is not None:
                    await asyncio.sleep(wait_s)
                    report = self._outbox.take(clock())
                    if report is not None:
                        await self._send(report)

    def _tell(self, report: Report) -> None:
        self._outbox.put(report)
        self._wake.set()

    async def _send(self, report: Report) -> None:
        clock, chance = asyncio.get_running_loop().time, random.random()
        try:
            status, body = await self._client.create(collection(report.event), encode(report, self._node_name))
        except KproxyError as error:
            self._outbox.lost(clock(), chance)
            self._say(str(error))
            return
        if status < 300 or status == THERE:
            self._outbox.sent()
            self._say("")
            return
        if status == 401 or status == 429 or status >= 500:
            self._outbox.lost(clock(), chance)
        else:
            self._outbox.refused(clock(), chance, for_good=status in FOR_GOOD)
        self._say(told(read_status(body, status), EVENTS))

    def _say(self, trouble: str) -> None:
        """Log what hinders, once, and when it is over."""
        if trouble and trouble != self._trouble:
            log.warning("Events can't be created at %s: %s", self._client.server or "the API server", trouble)
        elif self._trouble and not trouble:
            log.info("Events are created again")
        self._trouble = trouble
        if self._outbox.dropped > self._dropped and not trouble:
            log.info("Events that were dropped meanwhile: %d", self._outbox.dropped - self._dropped)
            self._dropped = self._outbox.dropped
