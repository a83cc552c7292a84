"""What changed lately, so that who keeps answers need not drop them all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

REMEMBERED = 256
"""Changes of which it is known what they touched."""


class ChangeLog:
    """Numbers changes; `generation` is the number of the last one."""

    def __init__(self) -> None:
        self.generation = 0
        self._entries: deque[tuple[int, AbstractSet[bytes] | None]] = deque(maxlen=REMEMBERED)

    def note(self, services: AbstractSet[bytes] | None) -> None:
        """Note a change of these Services (by key); None: of anything."""
        self.generation += 1
        self._entries.append((self.generation, services))

    def since(self, generation: int) -> AbstractSet[bytes] | None:
        """Return which Services changed since that generation; None: too much to tell."""
        if not self._entries or self._entries[0][0] > generation + 1:
            return None
        changed: set[bytes] = set()
        for at, services in reversed(self._entries):
            if at <= generation:
                break
            if services is None:
                return None
            changed |= services
        return changed
