"""The DNS service: follows the cluster, opens the sockets, and keeps the workers fed and alive. Wiring only."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import time
from typing import TYPE_CHECKING, Final

from kproxy.dns.feed import Counts, LoopFound, Mark, Reached, Setup, encode, encode_changes
from kproxy.dns.feed import Upstreams as UpstreamsMessage
from kproxy.dns.problems import problems_of
from kproxy.dns.programming import Pending
from kproxy.dns.server.child import orphaned
from kproxy.dns.server.config import node_upstreams
from kproxy.dns.server.crew import Worker
from kproxy.dns.server.local import LocalAddresses
from kproxy.dns.server.metrics import DnsMetrics
from kproxy.dns.server.selfcheck import what_is_wrong
from kproxy.dns.server.site import start_site
from kproxy.dns.server.sockets import check, open_sockets, shared, taken
from kproxy.errors import KproxyError, SourceError
from kproxy.kube.credentials import find_credentials
from kproxy.kube.resources import ALL_ENDPOINT_SLICES, ALL_SERVICES, NAMESPACES, PODS
from kproxy.sources.changes import Change, ChangeBatch
from kproxy.sources.directory import ManifestDirectory
from kproxy.sources.kubernetes import KubernetesSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.dns.resolver import Upstream
    from kproxy.dns.server.config import DnsConfig
    from kproxy.kube.wire import KubeObject

log = logging.getLogger(__name__)

KINDS: Final = ("Service", "EndpointSlice", "Endpoints", "Namespace", "Pod")
LOOK_S: Final = 1.0
LEAD_S: Final = 2.0
"""How often it is seen whether queries are answered; the kernel waits for 5 s."""
LEAD_AGAIN_S: Final = 0.2
SILENT_S: Final = 10.0
"""A worker tells every second what it counted; one that says nothing for so long hangs."""
SHOWN: Final = 20


def run_dns(config: DnsConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises `KproxyError` when it can't start, or must not go on (a loop)."""
    source = _source(config)
    check(config.given)
    local = LocalAddresses(config.made) if config.made else None
    if local is not None:
        local.make()
    service = DnsService(config, source, local)
    site = start_site(config.http_bind_address, service.metrics, service.not_ready, service.unhealthy)
    try:
        asyncio.run(service.run())
    finally:
        if site is not None:
            site.close()


class DnsService:
    """The service around its loop."""

    def __init__(
        self, config: DnsConfig, source: KubernetesSource | ManifestDirectory, local: LocalAddresses | None = None
    ) -> None:
        self.metrics = DnsMetrics()
        self._config = config
        self._source = source
        self._local = local
        self._objects: dict[tuple[str, str], KubeObject] = {}
        self._synced = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failure: KproxyError | None = None
        self._upstreams, self._upstreams_from = config.upstreams, "--dns-upstream"
        if not config.upstreams:
            self._upstreams, self._upstreams_from = node_upstreams(config)
        self._workers = [Worker(number, self._beginning, self._heard, self._ended) for number in range(config.workers)]
        self._heard_at: dict[int, float] = {}
        self._ready: set[int] = set()
        self._pending = Pending(len(self._workers))
        self._problems: dict[str, None] = {}
        self._unfit: dict[tuple[str, str], tuple[str, ...]] = {}
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
        now = time.monotonic()
        silent = [one.number for one in self._workers if now - self._heard_at.get(one.number, now) > SILENT_S]
        if silent:
            return f"worker {silent[0]} says nothing"
        dead = [one.number for one in self._workers if not one.running]
        return f"worker {dead[0]} does not run" if dead else ""

    # The tasks

    async def run(self) -> None:
        """Serve until a signal comes, then let the workers answer what they have."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._say_upstreams()
        working = [loop.create_task(worker.run()) for worker in self._workers]
        tasks = [
            loop.create_task(self._follow()),
            loop.create_task(self._listen()),
            loop.create_task(self._look()),
            loop.create_task(self._lead()),
        ]
        stop = loop.create_task(self._stopping.wait())
        # `_listen` ends when it is done; anything else that ends is an error.
        pending: set[asyncio.Task[object]] = {*working, *tasks, stop}
        try:
            while not self._stopping.is_set():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
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
        if local is not None and shared(self._config.addresses, len(self._workers)):
            local = None  # they are another process's by now
        if local is not None:
            local.withdraw("this server is ending")
        for worker in self._workers:
            worker.drain()
        await asyncio.gather(*working, return_exceptions=True)
        if local is not None:
            local.remove()

    async def _follow(self) -> None:
        changes: list[Change] = []
        async for batch in self._source.changes():
            changes += batch.changes
            if batch.complete:
                self._take(ChangeBatch(tuple(changes), batch.problems))
                changes = []

    def _take(self, batch: ChangeBatch) -> None:
        changes = [change for change in batch.changes if change.kind in KINDS]
        for change in changes:
            if change.obj is None:
                self._objects.pop((change.kind, change.key), None)
            else:
                self._objects[change.kind, change.key] = change.obj
        first = not self._synced.is_set()
        if not changes and not first:
            self._tell_problems(batch)
            return
        number = self._pending.add(changes, time.monotonic(), time.time(), first=first)
        messages = [*encode_changes(changes, int(time.time())), encode(Mark(number, synced=True))]
        for worker in self._workers:
            worker.tell(messages)
        if first:
            self._synced.set()
            log.info("all names are known: %d objects", len(self._objects))
        # Last, since an answer need not wait for it.
        for change in changes:
            self._unfit.pop((change.kind, change.key), None)
            if found := problems_of(change, self._config.zone):
                self._unfit[change.kind, change.key] = found
        self._tell_problems(batch)

    async def _listen(self) -> None:
        """Open the sockets: at once, or, where somebody answers already, once all names are known."""
        if taken(self._config.addresses):
            log.info("somebody listens there now: waiting until all names are known")
            while taken(self._config.addresses) and len(self._ready) < len(self._workers):
                await asyncio.sleep(0.05)
        for worker in self._workers:
            worker.listen(open_sockets(self._config.addresses))
        self._listening = True
        log.info("answering on %s", ", ".join(str(address) for address in self._config.addresses))

    async def _look(self) -> None:
        """See now and then whether the upstreams changed, and how old the data is."""
        while True:
            await asyncio.sleep(LOOK_S)
            if orphaned():
                log.warning("the agent that started this has ended")
                self._stopping.set()
                return
            now = time.monotonic()
            if not isinstance(self._source, KubernetesSource) or not self._source.troubles():
                self._fresh_at = now
            self.metrics.data_age.set(now - self._fresh_at)
            if not self._config.upstreams:
                upstreams, self._upstreams_from = node_upstreams(self._config)
                if upstreams != self._upstreams:
                    self._upstreams = upstreams
                    self._say_upstreams()
                    for worker in self._workers:
                        worker.tell([encode(UpstreamsMessage(_pairs(upstreams)))])

    async def _lead(self) -> None:
        """Lead queries for the addresses that are ours to us, for as long as they are answered."""
        local = self._local
        if local is None:
            return
        while True:
            why = self.not_ready() or await what_is_wrong(local.addresses, self._config.zone.domain)
            if why:
                local.withdraw(why)
            else:
                local.serve()
            self.metrics.leading.set(local.serving)
            await asyncio.sleep(LEAD_S if local.serving else LEAD_AGAIN_S)

    # The workers

    def _beginning(self) -> Iterable[bytes]:
        zone = {field.name: getattr(self._config.zone, field.name) for field in dataclasses.fields(self._config.zone)}
        setup = Setup(zone, _pairs(self._upstreams), verbosity=self._config.verbosity)
        changes = [Change(kind, key, obj) for (kind, key), obj in self._objects.items()]
        return self._told_first(setup, changes, self._synced.is_set())

    def _told_first(self, setup: Setup, changes: list[Change], synced: bool) -> Iterator[bytes]:
        yield encode(setup)
        yield from encode_changes(changes, int(time.time()))
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
        servers = ", ".join(str(upstream) for upstream in self._upstreams)
        remedy = "name other servers with --dns-upstream"
        self._failure = KproxyError(
            f"a query sent to {servers} (from {self._upstreams_from}) came back to this server: a loop", remedy=remedy
        )
        self._stopping.set()

    # What is said

    def _say_upstreams(self) -> None:
        if self._upstreams:
            servers = ", ".join(str(upstream) for upstream in self._upstreams)
            log.info("names outside the cluster are asked of %s (%s)", servers, self._upstreams_from)
        else:
            log.warning("%s names no other server: names outside the cluster are refused", self._upstreams_from)

    def _tell_problems(self, batch: ChangeBatch) -> None:
        unfit = [text for _, texts in sorted(self._unfit.items()) for text in texts]
        now = dict.fromkeys([*(str(problem) for problem in batch.problems), *unfit])
        new = [text for text in now if text not in self._problems]
        for text in new[:SHOWN]:
            log.error("refused: %s", text)
        if len(new) > SHOWN:
            log.error("refused: ... and %d more", len(new) - SHOWN)
        self._problems = now
        self.metrics.refused.set(len(now))


def _pairs(upstreams: Iterable[Upstream]) -> list[tuple[str, int]]:
    return [(upstream.address, upstream.port) for upstream in upstreams]


def _source(config: DnsConfig) -> KubernetesSource | ManifestDirectory:
    if config.manifests is None:
        pods = (PODS,) if config.zone.pods == "verified" else ()
        slices = () if config.zone.no_endpoints else (ALL_ENDPOINT_SLICES,)
        resources = (ALL_SERVICES, *slices, NAMESPACES, *pods)
        return KubernetesSource(find_credentials(config.kubeconfig, config.master), "", resources=resources)
    if not config.manifests.is_dir():
        raise SourceError(f"--manifests {config.manifests}: no such directory", remedy="create it, or name another")
    return ManifestDirectory(config.manifests)
