"""The one difference tracker of kproxy: what is wanted, what the kernel is believed to hold, and what is between.

Keys and values are the mode's own (chain -> rules, set element -> data, address -> nothing). Applying is reported
back, so that after a failure the tracker still tells the truth and the next apply repairs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class Unknown:
    """The value of something that the kernel holds and nobody has read: it equals nothing."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


class DeltaTracker(Generic[K, V]):
    """Desired and actual state by key. Looking for the difference costs only what changed since the last look."""

    def __init__(self) -> None:
        self._desired: dict[K, V] = {}
        self._actual: dict[K, V | Unknown] = {}
        self._touched: set[K] = set()

    @property
    def desired(self) -> Mapping[K, V]:
        """What is wanted, by key."""
        return self._desired

    @property
    def actual(self) -> Mapping[K, V | Unknown]:
        """What the kernel is believed to hold, by key."""
        return self._actual

    def want(self, key: K, value: V) -> None:
        """Wish for `key` to hold `value`."""
        self._desired[key] = value
        self._touched.add(key)

    def unwant(self, key: K) -> None:
        """Wish for `key` to be absent."""
        if key in self._desired:
            del self._desired[key]
            self._touched.add(key)

    def replace_actual(self, actual: Mapping[K, V | Unknown]) -> None:
        """Believe that the kernel holds exactly this, after reading it back."""
        self._actual = dict(actual)
        self._touched = set(self._desired) | set(self._actual)

    def updates(self) -> dict[K, V]:
        """Return what has to be written: absent, different or of unknown value."""
        found: dict[K, V] = {}
        for key in self._touched:
            if key in self._desired:
                value = self._desired[key]
                held = self._actual.get(key, UNKNOWN)
                if held is not value and held != value:
                    found[key] = value
        return found

    def deletions(self) -> list[K]:
        """Return what the kernel holds and nobody wants."""
        return [key for key in self._touched if key not in self._desired and key in self._actual]

    def applied(self, updates: Mapping[K, V], deletions: Iterable[K]) -> None:
        """Record that these updates and deletions are in the kernel now."""
        self._actual.update(updates)
        for key in deletions:
            self._actual.pop(key, None)
        self._touched = {
            key
            for key in self._touched
            if (key in self._desired and self._actual.get(key, UNKNOWN) != self._desired[key])
            or (key not in self._desired and key in self._actual)
        }
