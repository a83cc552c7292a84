"""How long it takes from a change of a Pod or Service until the kernel has it: network_programming_duration_seconds.

The EndpointSlice controller writes into an annotation of the slice when the change happened that made it touch the
slice. As in kube-proxy a time before the process started does not count, nor does the absence of the annotation.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from kproxy.kube.wire import EndpointSlice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.sources.changes import Change

TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


MAX_WAITING: Final = 10_000
"""Triggers that are kept; where syncs fail for long, the later ones are not counted."""


class Trigger(NamedTuple):
    """A change on its way to the kernel: the family of its slice, and when it happened (seconds since 1970)."""

    family: str
    happened: float


class ProgrammingLatency:
    """Keeps the triggers of changes until a sync has programmed them. `started`: when the process did, since 1970."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._waiting: list[Trigger] = []

    def note(self, changes: Iterable[Change]) -> None:
        """Take note of changes that the next sync will program."""
        for change in changes:
            if isinstance(change.obj, EndpointSlice):
                text = (change.obj.metadata.annotations or {}).get(TRIGGER_ANNOTATION)
                happened = _seconds(text) if text else None
                if happened is not None and happened > self._started and len(self._waiting) < MAX_WAITING:
                    self._waiting.append(Trigger(change.obj.address_type, happened))

    def take(self) -> list[Trigger]:
        """Hand out what a sync that starts now programs."""
        taken, self._waiting = self._waiting, []
        return taken

    def put_back(self, triggers: list[Trigger]) -> None:
        """Keep them after all: the sync failed."""
        self._waiting = (triggers + self._waiting)[:MAX_WAITING]


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
