"""Endpoints in slots: an endpoint that comes or goes moves one other at the most, however many there are.

A frontend's endpoints fill the slots 0 to n-1, and `numgen random mod n` chooses one. A new endpoint takes slot n.
When one leaves, the endpoint in the last slot moves into the hole. So the slots of a frontend are a matter of its
history; that they are n without a gap, and hold each endpoint once, is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.nftables.packing import pack_slot, unpack_slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

ListKey = bytes
"""A list's name: the key of its first slot, which is its frontend's key and the slot 0 or `LOCAL_SLOTS`."""

_PACKED_BEFORE = 1024


class SlotTable:
    """The lists of one map: which are wanted, which the kernel holds, and the difference.

    A list is kept as one `bytes`, its endpoints (each `width` bytes long) in the order of their slots: a quarter of a
    million endpoints are too many for an object each.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._wanted: dict[ListKey, bytes] = {}
        self._held: dict[ListKey, bytes] = {}
        self._touched: set[ListKey] = set()
        # Elements of the kernel's that are in no list: of a gap, say. They are only ever deleted.
        self._strays: set[bytes] = set()

    def want(self, name: ListKey, endpoints: Sequence[bytes]) -> None:
        """Wish for a list to hold these endpoints (none: to be gone), in the fewest moves from what it holds."""
        if endpoints:
            self._wanted[name] = arrange(self._held.get(name, b""), endpoints, self._width)
        else:
            self._wanted.pop(name, None)
        self._touched.add(name)

    @property
    def touched(self) -> AbstractSet[ListKey]:
        """The lists that may differ from what the kernel holds."""
        return self._touched

    def wanted(self, name: ListKey) -> bytes:
        """Return a wanted list; empty without one."""
        return self._wanted.get(name, b"")

    def held(self, name: ListKey) -> bytes:
        """Return a list as the kernel holds it."""
        return self._held.get(name, b"")

    def endpoints_of(self, held: bytes) -> set[bytes]:
        """Return the endpoints of a list."""
        return set(self._endpoints(held))

    def difference(self) -> tuple[list[bytes], dict[bytes, bytes]]:
        """Return the keys to delete, and after that the elements to add. An endpoint that is replaced is in both."""
        deletions = list(self._strays)
        additions: dict[bytes, bytes] = {}
        for name in self._touched:
            old, new = self._held.get(name, b""), self._wanted.get(name, b"")
            if old == new:
                continue
            frontend, base = unpack_slot(name)
            slots = self._slots(frontend, base, max(len(old), len(new)) // self._width)
            width = self._width
            for index, key in enumerate(slots):
                start = index * width
                was, is_now = old[start : start + width], new[start : start + width]
                if was == is_now:
                    continue
                if was:
                    deletions.append(key)
                if is_now:
                    additions[key] = is_now
        return deletions, additions

    def applied(self) -> None:
        """Record that the last difference is in the kernel."""
        for name in self._touched:
            if name in self._wanted:
                self._held[name] = self._wanted[name]
            else:
                self._held.pop(name, None)
        self._touched.clear()
        self._strays.clear()

    def read_back(self, elements: Mapping[bytes, bytes], bases: Iterable[int]) -> None:
        """Believe that the kernel holds exactly these elements; lists begin at `bases`.

        What is wanted is arranged anew, from the slots that are found.
        """
        wanted = {name: self._endpoints(blob) for name, blob in self._wanted.items()}
        self._held, self._strays = self._group(elements, sorted(bases))
        self._touched = set(self._held)
        for name, endpoints in wanted.items():
            self.want(name, endpoints)

    def elements(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all wanted elements."""
        for name, blob in self._wanted.items():
            frontend, base = unpack_slot(name)
            keys = self._slots(frontend, base, len(blob) // self._width)
            yield from zip(keys, self._endpoints(blob), strict=True)

    def _endpoints(self, blob: bytes) -> list[bytes]:
        return [blob[start : start + self._width] for start in range(0, len(blob), self._width)]

    def _slots(self, frontend: bytes, base: int, count: int) -> list[bytes]:
        packed = _packed_slots(base)
        if count <= _PACKED_BEFORE:
            return [frontend + slot for slot in packed[:count]]
        return [frontend + pack_slot(base + index) for index in range(count)]

    def _group(self, elements: Mapping[bytes, bytes], bases: list[int]) -> tuple[dict[ListKey, bytes], set[bytes]]:
        """Put elements together to lists; what stands behind a gap, or is not of our width, is a stray."""
        found: dict[ListKey, dict[int, bytes]] = {}
        strays: set[bytes] = set()
        for key, value in elements.items():
            frontend, slot = unpack_slot(key)
            base = max(base for base in bases if base <= slot)
            if len(value) == self._width:
                found.setdefault(frontend + pack_slot(base), {})[slot - base] = value
            else:
                strays.add(key)
        held: dict[ListKey, bytes] = {}
        for name, by_slot in found.items():
            full = next(index for index in range(len(by_slot) + 1) if index not in by_slot)
            if full:
                held[name] = b"".join(by_slot[index] for index in range(full))
            if full < len(by_slot):
                frontend, base = unpack_slot(name)
                strays |= {frontend + pack_slot(base + index) for index in by_slot if index >= full}
        return held, strays


def arrange(held: bytes, endpoints: Sequence[bytes], width: int) -> bytes:
    """Give each endpoint a slot, in the fewest moves: those that have one below the new number keep it."""
    if not held:
        return b"".join(endpoints)
    waiting = dict.fromkeys(endpoints)
    slots = [held[start : start + width] for start in range(0, len(held), width)][: len(endpoints)]
    for index, endpoint in enumerate(slots):
        if endpoint in waiting:
            del waiting[endpoint]
        else:
            slots[index] = b""
    slots += [b""] * (len(endpoints) - len(slots))
    incoming = iter(waiting)
    return b"".join([endpoint or next(incoming) for endpoint in slots])


_packed: dict[int, list[bytes]] = {}


def _packed_slots(base: int) -> list[bytes]:
    """Return the first slots of a list that begins at `base`, packed once for all lists."""
    if base not in _packed:
        _packed[base] = [pack_slot(base + index) for index in range(_PACKED_BEFORE)]
    return _packed[base]
