"""How long changes take until they are in the answers. No clock: times are passed in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kproxy.kube import wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.sources.changes import Change

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS = "service.kubernetes.io/headless"


class _Batch(NamedTuple):
    number: int
    since: float
    triggers: tuple[tuple[str, float], ...]
    missing: set[int]


class Pending:
    """Batches of changes that are on their way to some worker."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._batches: list[_Batch] = []
        self._number = 0

    def add(self, changes: Iterable[Change], now: float, wall: float, *, first: bool) -> int:
        """Enter a batch that came `now`; return its number, which is above 0. Of the first one no times are taken."""
        self._number += 1
        if not first:
            triggers = tuple(_triggers(changes, wall))
            self._batches.append(_Batch(self._number, now, triggers, set(range(self._workers))))
        return self._number

    def reached(self, worker: int, number: int, now: float, wall: float) -> list[tuple[float, list[tuple[str, float]]]]:
        """Note that a worker is done with a batch; return for each that all have: its seconds, and those of its slices.

        The latter are pairs of CoreDNS's `service_kind` and the seconds since the change in the cluster.
        """
        found = []
        for batch in list(self._batches):
            if batch.number > number:
                break
            batch.missing.discard(worker)
            if not batch.missing:
                self._batches.remove(batch)
                found.append((now - batch.since, [(kind, wall - at) for kind, at in batch.triggers]))
        return found

    def forget(self, worker: int) -> None:
        """Wait for a worker no more: it ended, and the next one begins with all there is."""
        for batch in self._batches:
            batch.missing.discard(worker)
        self._batches = [batch for batch in self._batches if batch.missing]


def _triggers(changes: Iterable[Change], wall: float) -> Iterable[tuple[str, float]]:
    for change in changes:
        if isinstance(change.obj, wire.EndpointSlice):
            metadata = change.obj.metadata
            text = (metadata.annotations or {}).get(TRIGGER, "")
            try:
                at = datetime.fromisoformat(text).timestamp()
            except ValueError:
                continue
            if 0 <= wall - at < 3600:
                yield ("headless_with_selector" if HEADLESS in (metadata.labels or {}) else "cluster_ip"), at
