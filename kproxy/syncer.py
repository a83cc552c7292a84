"""One sync: plan what changed, make the kernel hold it, then conntrack, health checks and metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kproxy.dataplane import conntrack
from kproxy.dataplane.address_watch import AddressWatch
from kproxy.errors import KernelError, ObjectError, OwnAddress, one_line
from kproxy.events.event import own_address_not_served
from kproxy.health_checks import HealthChecks
from kproxy.localhost_ports import LocalhostPorts
from kproxy.logs import fields
from kproxy.plan.family import FamilyPlan
from kproxy.plan.node_ports import parse_node_port_addresses
from kproxy.threads import Calls

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from kproxy.config import Config
    from kproxy.dataplane.mode import Proxier, Synced
    from kproxy.events.log import EventLog
    from kproxy.health.shared import ProxierHealth
    from kproxy.metrics.family import SyncKind
    from kproxy.metrics.registry import Metrics
    from kproxy.state.addresses import Family
    from kproxy.state.cluster import ClusterState

T = TypeVar("T")

log = logging.getLogger(__name__)

NAMED = 3
"""So many Services are named in the log, as what a sync was for."""

LAST_SYNC_S = 3.0
"""For how long the end of the process waits for a sync that is under way."""


class Syncer:
    """Brings all families in step with the state. `sync` is for one task at a time.

    What a sync costs is what changed since the last one, however large the cluster. A family that nothing changed for
    is left alone.
    """

    def __init__(
        self,
        config: Config,
        state: ClusterState,
        proxiers: Sequence[Proxier],
        health: ProxierHealth,
        metrics: Metrics,
        events: EventLog,
    ) -> None:
        self._config = config
        self._state = state
        self._proxiers = proxiers
        self._health = health
        self._metrics = metrics
        self._events = events
        self._watch: AddressWatch | None = None
        self._addresses: Mapping[Family, tuple[str, ...]] = {}
        self._plans = {proxier.family: FamilyPlan(proxier.family, proxier.unsupported) for proxier in proxiers}
        self._due = {proxier.family for proxier in proxiers}
        self._in_step: set[Family] = set()
        self._distrusted: set[Family] = set()
        self._failing: dict[Family, str] = {}
        self._health_checks = HealthChecks(config, self._plans, health, events)
        self._localhost_ports = LocalhostPorts(config, self._plans, metrics)
        self._calls = Calls()

    def watch(self) -> AddressWatch:
        """Return what tells when the node's addresses change: then a sync is due. Raises `KernelError`."""
        if self._watch is None:
            self._watch = AddressWatch()
        return self._watch

    async def sync(self, *, full: bool = False) -> bool:
        """Run one sync of every family; return whether all succeeded. A failed family leaves the others alone."""
        try:
            addresses_changed = self._look_at_addresses()
        except KernelError as error:
            for proxier in self._proxiers:
                self._failed(proxier.family, error)
            return False
        keys = self._plan(addresses_changed)
        for proxier in self._proxiers:
            self._health.started(proxier.family, time.monotonic())
        outcomes = await asyncio.gather(*(self._sync_family(proxier, full, keys) for proxier in self._proxiers))
        in_step = [proxier.family for proxier, succeeded in zip(self._proxiers, outcomes, strict=True) if succeeded]
        self._health_checks.serve(in_step, self._plans, self._state.node, self._addresses)
        self._localhost_ports.serve(in_step)
        for family in in_step:
            await self._clean_conntrack(family)
        self._tell_own_addresses()
        return all(outcomes)

    def distrust(self, family: Family) -> None:
        """Have the next sync compare everything with what the kernel really holds: somebody else changed it."""
        self._distrusted.add(family)

    async def intact(self) -> bool:
        """Tell whether every family's rules are still there; a family that can't be looked at counts as intact."""
        return all(await asyncio.gather(*(self._family_intact(proxier) for proxier in self._proxiers)))

    async def ended(self) -> bool:
        """Wait for what is under way to end, for a moment; tell whether it has. What hangs is left to itself."""
        return await self._calls.ended(LAST_SYNC_S)

    def close(self) -> None:
        """Stop serving ports and watching addresses; the rules stay."""
        self._health_checks.close()
        self._localhost_ports.close()
        if self._watch is not None:
            self._watch.close()

    def problems(self) -> list[ObjectError]:
        """Return the Services that this kernel can't or won't serve, each once."""
        found = [plan.refused for plan in self._plans.values()] + [proxier.refused for proxier in self._proxiers]
        return [problem for refused in found for problem in refused.values()]

    def _look_at_addresses(self) -> bool:
        watch = self.watch()
        if not watch.stale():
            return False
        before, self._addresses = self._addresses, watch.read()
        return self._addresses != before

    def _plan(self, addresses_changed: bool) -> set[str]:
        """Plan again what changed; return the Services."""
        dirty, node_changed = self._state.take_dirty()
        node = self._state.node
        if node_changed:
            self._health.node_changed(deleting=node.deleting, tainted=node.tainted)
            dirty |= self._state.services.keys()
        for proxier in self._proxiers:
            plan = self._plans[proxier.family]
            planned = plan.update(self._state, dirty)
            if planned.health_checks:
                self._health_checks.outdated(proxier.family)
            if node_changed or addresses_changed:
                family = proxier.family
                proxier.configure(node, self._addresses[family], self._state.service_cidrs[family])
            # What the kernel refused is tried again whenever something about it changes.
            changed = planned.services + [key for key in dirty if key in proxier.refused]
            for key in changed:
                intents = plan.intents.get(key, ())
                proxier.set_service(key, intents, plan.health_check_node_port(key))
                self._localhost_ports.set_service(proxier.family, key, intents)
            if changed or node_changed or addresses_changed:
                self._due.add(proxier.family)
        return dirty

    async def _sync_family(self, proxier: Proxier, full: bool, services: Collection[str]) -> bool:
        family, start = proxier.family, time.monotonic()
        full = full or family in self._distrusted
        self._distrusted.discard(family)  # before the sync: what happens during it counts anew
        if family not in self._due and not full:
            self._kept(family)
            return True
        kind: SyncKind = "partial" if family in self._in_step and not full else "full"
        self._in_step.discard(family)
        try:
            synced = await self._patiently(family, "a sync", partial(proxier.sync, full=full))
        except KernelError as error:
            self._count_failed(family, kind, time.monotonic() - start, error)
            self._failed(family, error)
            return False
        seconds = time.monotonic() - start
        self._in_step.add(family)
        self._due.discard(family)
        self._succeeded(proxier, synced, seconds, services)
        return True

    async def _patiently(self, family: Family, what: str, call: Callable[[], T]) -> T:
        """Wait for a call, and say so when it takes so long that health turns red."""
        late_s = 2 * self._config.sync_period_s
        text = "%s: %s has not ended for %g s: health is red until it does"
        late = asyncio.get_running_loop().call_later(late_s, log.error, text, family, what, late_s)
        try:
            return await self._calls.run(call)
        finally:
            late.cancel()

    def _count_failed(self, family: Family, kind: SyncKind, seconds: float, error: KernelError) -> None:
        metrics = self._metrics.family(family)
        metrics.observe_sync(kind, seconds)
        if error.while_writing:
            metrics.count_write_failure(kind)

    def _failed(self, family: Family, error: KernelError) -> None:
        self._health.failed(family, time.monotonic())
        self._metrics.family(family).sync_failures.inc()
        if self._failing.get(family) != str(error):
            self._failing[family] = str(error)
            log.error("%s: sync failed, the last good rules stay: %s", family, error, extra=fields(ip_family=family))

    def _kept(self, family: Family) -> None:
        """Note that the kernel holds what is wanted."""
        if self._failing.pop(family, ""):
            log.info("%s: syncing works again", family)
        self._health.synced(family, time.monotonic())
        self._metrics.family(family).sync_last_timestamp.set_to_current_time()

    def _succeeded(self, proxier: Proxier, synced: Synced, seconds: float, services: Collection[str]) -> None:
        family = proxier.family
        self._kept(family)
        metrics = self._metrics.family(family)
        metrics.observe_sync("full" if synced.full else "partial", seconds)
        counts = proxier.count_rules()
        for table, gauge in metrics.iptables_rules.items():
            gauge.set(counts.get(table, 0))
        for table, gauge in metrics.iptables_rules_last_sync.items():
            gauge.set(synced.rules_written.get(table, 0))
        metrics.nftables_cleanup_failures.inc(synced.cleanup_failures)
        internal, external = self._plans[family].no_local_endpoints()
        metrics.no_local_endpoints["internal"].set(internal)
        metrics.no_local_endpoints["external"].set(external)
        level = logging.INFO if synced.changed_anything else logging.DEBUG
        log.log(
            level,
            "%s: %s sync in %.0f ms (%s): wrote %s, deleted %d",
            *(family, "full" if synced.full else "partial", seconds * 1000),
            *(_names(services), synced.written or "nothing", synced.deleted),
            extra=fields(
                ip_family=family,
                kind="full" if synced.full else "partial",
                seconds=round(seconds, 6),
                services=len(services),
                written=synced.written,
                deleted=synced.deleted,
            ),
        )

    def _tell_own_addresses(self) -> None:
        for proxier in self._proxiers:
            for key, problem in proxier.refused.items():
                if isinstance(problem, OwnAddress):
                    namespace, _, name = key.partition("/")
                    why = str(problem)
                    self._events.record(own_address_not_served(namespace, name, self._config.node_name, why))

    async def _clean_conntrack(self, family: Family) -> None:
        udp = self._plans[family].udp
        frontends = udp.changed()
        if not frontends:
            return
        node_ports = parse_node_port_addresses(self._config.node_port_addresses, self._state.node.ips)
        metrics = self._metrics.family(family)
        start = time.monotonic()
        try:
            local = node_ports.matching(family, self._addresses[family])
            deleted = await self._calls.run(partial(conntrack.delete_stale, family, frontends, local))
        except KernelError as error:
            log.error("%s: stale UDP flows can't be deleted: %s", family, error)
            return
        metrics.conntrack_sync_duration.observe(time.monotonic() - start)
        metrics.conntrack_deleted_entries.inc(deleted)
        udp.cleaned()
        if deleted:
            log.info("%s: deleted %d stale UDP flows", family, deleted, extra=fields(ip_family=family, deleted=deleted))

    async def _family_intact(self, proxier: Proxier) -> bool:
        try:
            return await self._patiently(proxier.family, "a look at the rules", proxier.intact)
        except KernelError as error:
            log.warning("%s: the rules can't be looked at: %s", proxier.family, error)
            return True


def _names(services: Collection[str]) -> str:
    """Name a few Services; count many."""
    return one_line(", ".join(sorted(services))) if 0 < len(services) <= NAMED else f"{len(services)} Services"
