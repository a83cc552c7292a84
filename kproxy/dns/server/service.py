"""The DNS service: follows the cluster, opens the sockets, and keeps the workers fed and alive. Wiring only."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import signal
import time
from typing import TYPE_CHECKING, Final

from kproxy import memory
from kproxy.dns.feed import Counts, LoopFound, Mark, Reached, Setup, encode, encode_changes
from kproxy.dns.feed import Upstreams as UpstreamsMessage
from kproxy.dns.programming import Pending
from kproxy.dns.server.child import orphaned
from kproxy.dns.server.crew import Worker
from kproxy.dns.server.known import KINDS, Known, open_source
from kproxy.dns.server.local import LocalAddresses
from kproxy.dns.server.metrics import DnsMetrics
from kproxy.dns.server.site import start_site
from kproxy.dns.server.sockets import check, listeners, open_sockets, prefer, shared, taken
from kproxy.dns.server.standing import Standing
from kproxy.dns.server.upstreams import Upstreams
from kproxy.errors import KproxyError
from kproxy.sources.kubernetes import KubernetesSource
from kproxy.supervisor import Supervisor
from kproxy.threads import run_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.dns.feed import Item
    from kproxy.dns.server.config import DnsConfig
    from kproxy.sources.changes import ChangeBatch
    from kproxy.sources.directory import ManifestDirectory

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
SILENT_S: Final = 10.0
"""A worker tells every second what it counted; one that says nothing for so long hangs."""

DRAINED_S: Final = 6.0
"""Longer than a worker takes to answer what it has (`worker.DRAIN_S`)."""


def run_dns(config: DnsConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises `KproxyError` when it can't start, or must not go on (a loop)."""
    gc.disable()  # until `memory.settle`
    source = open_source(config)
    check(config.given)
    local = LocalAddresses(config.made) if config.made else None
    service = DnsService(config, source, local)
    if local is not None:
        local.make()
    site = start_site(config.http_bind_address, service.metrics, service.not_ready, service.unhealthy)
    try:
        run_loop(service.run())
    finally:
        if site is not None:
            site.close()


class DnsService:
    """The service around its loop."""

    def __init__(
        self, config: DnsConfig, source: KubernetesSource | ManifestDirectory, local: LocalAddresses | None = None
    ) -> None:
        self.metrics = DnsMetrics(node_local=local is not None)
        self._config = config
        self._source = source
        self._local = local
        self._known = Known(config.zone)
        self._standing = Standing(Supervisor(), config.ready_file)
        self._synced = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failure: KproxyError | None = None
        self._upstreams = Upstreams(config)
        self._workers = [Worker(number, self._beginning, self._heard, self._ended) for number in range(config.workers)]
        self._heard_at: dict[int, float] = {}
        self._ready: set[int] = set()
        self._pending = Pending(len(self._workers))
        self._fresh_at = time.monotonic()
        self._listening = False

    # What probes ask, in threads of their own

    def not_ready(self) -> str:
        """Return why not every name is answered for, "" if it is."""
        if self._stopping.is_set():
            return "shutting down"
        if not self._synced.is_set():
            return "the cluster's objects were not read yet"
        if not self._listening or len(self._ready) < len(self._workers):
            return "the workers do not know all names yet"
        return ""

    def unhealthy(self) -> str:
        """Return why names are not answered, "" if they are."""
        if silent := self._silent():
            return f"worker {silent[0].number} says nothing"
        dead = [one.number for one in self._workers if not one.running]
        return f"worker {dead[0]} does not run" if dead else ""

    def _silent(self) -> list[Worker]:
        now = time.monotonic()
        return [one for one in self._workers if now - self._heard_at.get(one.number, now) > SILENT_S]

    # The tasks

    async def run(self) -> None:
        """Serve until a signal comes, then let the workers answer what they have."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._upstreams.say()
        working = [loop.create_task(worker.run()) for worker in self._workers]
        tasks = [
            loop.create_task(self._follow()),
            loop.create_task(self._listen()),
            loop.create_task(self._look()),
            loop.create_task(self._standing.tell(self.not_ready, self.unhealthy)),
        ]
        if self._local is not None:
            lead = self._local.lead(self._config.zone.domain, self.not_ready, self.metrics.leading.set)
            tasks.append(loop.create_task(lead))
        stop = loop.create_task(self._stopping.wait())
        # `_listen` and `tell` end when they are done; anything else that ends is an error.
        pending: set[asyncio.Task[object]] = {*working, *tasks, stop}
        try:
            while not self._stopping.is_set():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            self._standing.ending()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end(working)
        if self._failure is not None:
            raise self._failure
        log.info("stopped")

    async def _end(self, working: list[asyncio.Task[None]]) -> None:
        """Lead queries elsewhere, answer those that have come, and take our addresses away."""
        local, self._local = self._local, None
        # Another process may serve them: the next one, or, if this one is to be its next, the one before.
        if local is not None and not shared(self._config.addresses, len(self._workers) if self._listening else 0):
            local.withdraw("this server is ending")
        for worker in self._workers:
            worker.drain()
        await asyncio.wait(working, timeout=DRAINED_S)
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*working, return_exceptions=True)
        for worker in self._workers:
            worker.close()
        if local is not None:
            local.remove([address for address in local.addresses if not shared([address], 0)])

    async def _follow(self) -> None:
        async for batch in self._source.changes():
            self._take(batch)

    def _take(self, batch: ChangeBatch) -> None:
        changes = [change for change in batch.changes if change.kind in KINDS]
        first = batch.complete and not self._synced.is_set()
        messages = [*encode_changes(self._known.take(changes), int(time.time()))]
        if batch.complete and (changes or first):
            number = self._pending.add(changes, time.monotonic(), time.time(), first=first)
            messages.append(encode(Mark(number, synced=True)))
        if messages:
            for worker in self._workers:
                worker.tell(messages)
        if first:
            self._synced.set()
            log.info("all names are known: %d objects", len(self._known))
            memory.settle()
        # Last, since an answer need not wait for it.
        self.metrics.refused.set(self._known.judge(changes, batch.problems))

    async def _listen(self) -> None:
        """Open the sockets: at once, or, where somebody answers already, once all names are known."""
        before: dict[str, int] = {}
        if taken(self._config.addresses):
            log.info("somebody listens there now: waiting until all names are known")
            while taken(self._config.addresses) and len(self._ready) < len(self._workers):
                await asyncio.sleep(0.05)
            if self._local is not None:
                self._local.make()  # who listened may have taken the addresses along
            before = await asyncio.to_thread(listeners, self._config.addresses)
        opened = [open_sockets(self._config.addresses) for _ in self._workers]
        prefer(opened, before)
        for worker, sockets in zip(self._workers, opened, strict=True):
            worker.listen(sockets)
        self._listening = True
        log.info("answering on %s", ", ".join(str(address) for address in self._config.addresses))

    async def _look(self) -> None:
        """See now and then whether the workers work, whether the upstreams changed, and how old the data is."""
        while True:
            await asyncio.sleep(LOOK_S)
            if orphaned():
                log.warning("the agent that started this has ended")
                self._stopping.set()
                return
            for worker in self._silent():
                log.error("DNS worker %d says nothing for %g s: ending it", worker.number, SILENT_S)
                worker.kill()
            now = time.monotonic()
            if not isinstance(self._source, KubernetesSource) or not self._source.troubles():
                self._fresh_at = now
            self.metrics.data_age.set(now - self._fresh_at)
            if self._upstreams.look():
                for worker in self._workers:
                    worker.tell([encode(UpstreamsMessage(self._upstreams.pairs()))])

    # The workers

    def _beginning(self) -> Iterable[bytes]:
        zone = {field.name: getattr(self._config.zone, field.name) for field in dataclasses.fields(self._config.zone)}
        config = self._config
        setup = Setup(
            zone,
            self._upstreams.pairs(),
            verbosity=config.verbosity,
            logging_format=config.logging_format,
            transfer_to=config.transfer_to,
        )
        return self._told_first(setup, self._known.everything(), self._synced.is_set())

    def _told_first(self, setup: Setup, items: list[Item], synced: bool) -> Iterator[bytes]:
        yield encode(setup)
        yield from encode_changes(items, int(time.time()))
        if synced:
            yield encode(Mark(0, synced=True))

    def _heard(self, worker: int, message: object) -> None:
        now = time.monotonic()
        self._heard_at[worker] = now
        match message:
            case Counts():
                self.metrics.add(message, worker)
            case Reached(number):
                self._ready.add(worker)
                for seconds, programming in self._pending.reached(worker, number, now, time.time()):
                    self.metrics.change.observe(seconds)
                    for kind, age in programming:
                        self.metrics.programming.labels(kind).observe(age)
            case LoopFound():
                self._found_loop()

    def _ended(self, worker: int) -> None:
        self._ready.discard(worker)
        self._heard_at.pop(worker, None)
        self.metrics.worker_gone(worker)
        self._pending.forget(worker)
        if self._local is not None and not any(one.running for one in self._workers):
            self._local.withdraw("no worker runs")
        if not self._stopping.is_set():
            self.metrics.restarts.inc()

    def _found_loop(self) -> None:
        self._failure = KproxyError(
            f"a query sent to {self._upstreams} (from {self._upstreams.named}) came back to this server: a loop",
            remedy="name other servers with --dns-upstream",
        )
        self._stopping.set()
