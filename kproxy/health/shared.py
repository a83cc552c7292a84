"""The one health record of the agent, shared between its loop, its sync threads and the servers that answer from it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kproxy.health.proxier import FamilyState, ProxierState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.health.answer import Answer


class ProxierHealth:
    """A `ProxierState` behind one lock. Any thread may call any method; none of them blocks for longer than a look-up.

    `now` is always `time.monotonic()`. For each family the agent calls, in this order: `queued` when a change comes in;
    `started` at the moment the sync takes the state it will program (a change queued after that must lead to another
    sync); `synced` or `failed` at its end. `started` may be left out, then `synced` clears all that was queued.
    A sync that ends neither way turns /healthz and /livez red after 2 x sync period, and so does a failed one that is
    not made good.
    """

    def __init__(self, sync_period_s: float) -> None:
        self._lock = threading.Lock()
        self._state = ProxierState(timeout_s=2 * sync_period_s)

    def expect(self, families: Iterable[str]) -> None:
        """Name the IP families in use ("IPv4", "IPv6"); /healthz is 503 until each of them was synced once."""
        with self._lock:
            self._state = self._state.expect(families)

    def queued(self, family: str, now: float) -> None:
        """Note a change that needs a sync."""
        with self._lock:
            self._replace(family, self._state.of(family).queued(now))

    def started(self, family: str, now: float) -> None:
        """Note that a sync has begun with all that was queued until now."""
        with self._lock:
            self._replace(family, self._state.of(family).started(now))

    def synced(self, family: str, now: float) -> None:
        """Note that the kernel holds what the sync wanted."""
        with self._lock:
            self._replace(family, self._state.of(family).synced(now))

    def failed(self, family: str, now: float) -> None:
        """Note that the sync failed; it stays pending since when it first was."""
        with self._lock:
            self._replace(family, self._state.of(family).failed(now))

    def node_changed(self, *, deleting: bool, tainted: bool) -> None:
        """Note the own Node: has it a deletionTimestamp; has it a taint with key ToBeDeletedByClusterAutoscaler."""
        with self._lock:
            self._state = self._state.node_changed(deleting=deleting, tainted=tainted)

    def beat(self, now: float) -> None:
        """Note a sign of life of the agent's loop. From the first one on, silence for 2 x sync period is red."""
        with self._lock:
            self._state = self._state.beat(now)

    def alive(self, now: float) -> bool:
        """Tell whether nothing is late: what /livez and the health check node ports go by."""
        return self.state().alive(now)

    def livez(self, now: float, wall: float) -> Answer:
        """Answer /livez; `wall` is `time.time()`, for the dates in the body."""
        return self.state().livez(now, wall)

    def healthz(self, now: float, wall: float) -> Answer:
        """Answer /healthz; `wall` is `time.time()`, for the dates in the body."""
        return self.state().healthz(now, wall)

    def state(self) -> ProxierState:
        """Return the state as it is now: a value that does not change."""
        with self._lock:
            return self._state

    def _replace(self, family: str, state: FamilyState) -> None:
        self._state = self._state.with_family(family, state)
