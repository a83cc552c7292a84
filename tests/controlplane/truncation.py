"""Where the data of a broken connection ends. Bytes in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Truncation:
    """Where a connection's data from the server ends: after `left` bytes, or behind the first `marker`."""

    left: int = 0
    marker: bytes = b""
    _tail: bytes = b""

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """The part of `data` that is passed on, and whether it is the last."""
        if not self.marker:
            part = data[: self.left]
            self.left -= len(part)
            return part, self.left <= 0
        found = (self._tail + data).find(self.marker)
        if found < 0:
            self._tail = (self._tail + data)[-(len(self.marker) - 1) :] if len(self.marker) > 1 else b""
            return data, False
        return data[: found + len(self.marker) - len(self._tail)], True
