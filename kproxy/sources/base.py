"""What the agent asks of a source of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kproxy.sources.changes import ChangeBatch


class Source(Protocol):
    """Yields batches of changes; the first complete one makes up everything there is, also when that is nothing."""

    def changes(self) -> AsyncIterator[ChangeBatch]:
        """Follow the source until cancelled. Raises `SourceError` when it can't be read at all."""
