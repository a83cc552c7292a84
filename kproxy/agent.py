"""The agent's loop: a source of objects, the state they make, and syncs. Wiring only."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from typing import TYPE_CHECKING

from kproxy import memory
from kproxy.config_watch import until_changed
from kproxy.events import event
from kproxy.metrics.programming import ProgrammingLatency
from kproxy.notices import Notices
from kproxy.plan.doubts import doubts
from kproxy.repairs import Repairs
from kproxy.schedule import SyncSchedule
from kproxy.state.cluster import ClusterState
from kproxy.supervisor import Supervisor
from kproxy.syncer import Syncer
from kproxy.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from kproxy.config import Config
    from kproxy.dataplane.mode import Drift, Proxier
    from kproxy.events.log import EventLog
    from kproxy.health.shared import ProxierHealth
    from kproxy.metrics.registry import Metrics
    from kproxy.sources.base import Source
    from kproxy.sources.changes import ChangeBatch
    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo

log = logging.getLogger(__name__)

TAKE_OVER_EVERY_S = 10.0
"""How often what still stays of another proxy is looked at."""


class Agent:
    """The loop. Nothing is written before the source has said everything there is."""

    def __init__(
        self,
        config: Config,
        source: Source,
        proxiers: Sequence[Proxier],
        health: ProxierHealth,
        metrics: Metrics,
        events: EventLog,
        *,
        drift: Drift | None = None,
        take_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = config
        self._source = source
        self._families = [proxier.family for proxier in proxiers]
        self._health = health
        self._metrics = metrics
        self._events = events
        self._state = ClusterState(
            config.node_name,
            bind_address=config.bind_address,
            external_ips_allowed=config.external_ips_allowed,
        )
        self._syncer = Syncer(config, self._state, proxiers, health, metrics, events)
        self._schedule = SyncSchedule(config.sync_period_s, config.min_sync_period_s)
        self._programming = ProgrammingLatency(time.time())
        self._notices = Notices(metrics)
        self._supervisor = Supervisor()
        self._repairs = None if drift is None else Repairs(drift, metrics, self._repair)
        self._take_over = take_over
        self._taking_over: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._full = False
        self._ready = False
        self._doubted: tuple[NodeInfo | None, Sequence[str]] = (None, ())
        self._source_problems: Sequence[Exception] = ()

    async def run(self) -> None:
        """Follow the source and sync until a signal comes."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._events.record(event.started(self._config.node_name))
        loop.add_reader(self._syncer.watch(), self._addresses_changed)
        if self._repairs is not None:
            self._repairs.start()
        works = (self._follow(), self._sync_loop(), stop.wait(), self._events.run())
        tasks: list[asyncio.Task[object]] = [loop.create_task(work) for work in works]
        if self._config.config_file is not None:
            tasks.append(loop.create_task(until_changed(self._config.config_file)))
        if self._config.dns is not None:
            from kproxy.dns.server.child import keep_running

            tasks.append(loop.create_task(keep_running(self._config.dns)))
        if self._supervisor.watchdog_s:
            tasks.append(loop.create_task(self._watchdog()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._supervisor.stopping()
            await asyncio.gather(*tasks, return_exceptions=True)
            loop.remove_reader(self._syncer.watch())
            ended = await self._syncer.ended()
            # A sync that is under way still tells what listens there which changes are its own.
            if self._repairs is not None:
                self._repairs.stop()
            self._syncer.close()
        for task in done:
            task.result()
        log.info("stopped; the rules stay" if ended else "stopped, although a sync hangs; the last good rules stay")

    async def _follow(self) -> None:
        async for batch in self._source.changes():
            self._take(batch)

    def _take(self, batch: ChangeBatch) -> None:
        self._state.apply(batch.changes)
        self._source_problems = batch.problems
        kinds = [change.kind for change in batch.changes]
        services = kinds.count("Service")
        slices = kinds.count("EndpointSlice")
        self._metrics.service_changes.inc(services)
        self._metrics.service_changes_pending.inc(services)
        self._metrics.endpoint_changes.inc(slices)
        self._metrics.endpoint_changes_pending.inc(slices)
        self._programming.note(batch.changes)
        if batch.complete:
            self._request()

    def _request(self) -> None:
        self._schedule.request()
        for family in self._families:
            self._health.queued(family, time.monotonic())
            self._metrics.family(family).sync_last_queued_timestamp.set_to_current_time()
        self._wake.set()

    def _addresses_changed(self) -> None:
        # Before the first sync nothing may be written, and then they are read anyway.
        if self._syncer.watch().stale() and self._notices.told:
            self._request()

    def _repair(self, families: Collection[Family]) -> None:
        if self._notices.told:  # the first sync reads everything anyway
            for family in families:
                self._syncer.distrust(family)
            self._request()

    async def _sync_loop(self) -> None:
        looked_at = time.monotonic()
        while True:
            now = time.monotonic()
            self._health.beat(now)
            next_look_s = looked_at + self._config.sync_period_s - now
            if next_look_s <= 0:
                # Before any wait: changes that never cease must not keep us from looking.
                await self._look()
                looked_at = time.monotonic()
                continue
            wait_s = self._schedule.wait_s(now)
            if wait_s == 0:
                await self._sync()
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(wait_s or next_look_s, next_look_s))

    async def _sync(self) -> None:
        self._schedule.start()
        full, self._full = self._full, False
        triggers = self._programming.take()
        self._metrics.service_changes_pending.set(0)
        self._metrics.endpoint_changes_pending.set(0)
        succeeded = await self._syncer.sync(full=full)
        self._full = self._full or (full and not succeeded)
        if succeeded:
            self._metrics.observe_programming(triggers, time.time())
        else:
            self._programming.put_back(triggers)
        self._schedule.finish(time.monotonic(), failed=not succeeded)
        if self._repairs is not None:
            self._repairs.look()
        if succeeded and not self._ready:
            self._ready = True
            self._supervisor.ready(f"Services at the first sync: {len(self._state.services)}")
            # Beside the syncs, which it must not hold up: there may be thousands of old rules.
            self._taking_over = asyncio.create_task(self._take_over_all())
        if not gc.isenabled():
            memory.settle()
        self._notices.tell(self._state, [*self._source_problems, *self._syncer.problems()], self._doubts())

    def _doubts(self) -> Sequence[str]:
        config, node = self._config, self._state.node
        if node is not self._doubted[0]:
            served = config.localhost_relay or config.proxy_mode == "iptables"
            addresses = config.node_port_addresses
            found = doubts(config.local, addresses, node, self._families, loopback_served=served)
            self._doubted = node, list(found)
        return self._doubted[1]

    async def _take_over_all(self) -> None:
        while await in_thread(self._take_over):
            await asyncio.sleep(TAKE_OVER_EVERY_S)

    async def _watchdog(self) -> None:
        """Give systemd its sign of life for as long as /livez is green."""
        while True:
            if self._health.alive(time.monotonic()):
                self._supervisor.alive()
            await asyncio.sleep(self._supervisor.watchdog_s / 3)

    async def _look(self) -> None:
        """See whether the rules are still there."""
        if not self._notices.told:
            return  # before the first sync there is nothing to look after
        if not await self._syncer.intact():
            log.warning("rules were removed by someone else: writing all of them again")
            self._full = True
        self._request()
