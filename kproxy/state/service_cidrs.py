"""The ranges that clusterIPs are allocated from: the cluster's ServiceCIDRs (KEP-1880).

Only ranges that are Ready count: one that is on its way out may hold addresses that somebody else has by now. An
object without conditions, as people write it into manifests, is Ready; so the API server's own allocator takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.errors import ObjectError
from kproxy.state.addresses import FAMILIES, Family, parse_cidr

if TYPE_CHECKING:
    from kproxy.kube import wire

CONDITION_READY = "Ready"


class ServiceCidrs:
    """The ranges by family, each once and in a stable order: `by_family` always has both families."""

    def __init__(self) -> None:
        self.by_family: dict[Family, tuple[str, ...]] = dict.fromkeys(FAMILIES, ())
        self._objects: dict[str, tuple[tuple[Family, str], ...]] = {}
        self._invalid: dict[str, ObjectError] = {}

    def apply(self, key: str, obj: wire.ServiceCIDR | None) -> bool:
        """Take an object in, or (None) the news that it is gone; return whether the ranges are others now."""
        self._invalid.pop(key, None)
        if obj is None:
            self._objects.pop(key, None)
        else:
            try:
                self._objects[key] = ready_cidrs(obj)
            except ObjectError as error:
                # Like an invalid Service: the last good version stays.
                self._invalid[key] = error
        before, self.by_family = self.by_family, self._merged()
        return self.by_family != before

    def problems(self) -> list[ObjectError]:
        """Return the objects that can't be used, in a stable order."""
        return [self._invalid[key] for key in sorted(self._invalid)]

    def _merged(self) -> dict[Family, tuple[str, ...]]:
        every = {pair for pairs in self._objects.values() for pair in pairs}
        return {family: tuple(sorted(cidr for of, cidr in every if of == family)) for family in FAMILIES}


def ready_cidrs(obj: wire.ServiceCIDR) -> tuple[tuple[Family, str], ...]:
    """Return the ranges of one object, none if it is not Ready. Raises ObjectError for one that is no CIDR."""
    conditions = (obj.status.conditions if obj.status else None) or ()
    if any(one.type == CONDITION_READY and one.status != "True" for one in conditions):
        return ()
    found = []
    for position, text in enumerate(obj.spec.cidrs or ()):
        try:
            found.append(parse_cidr(text))
        except ValueError as error:
            where = f"ServiceCIDR {obj.metadata.name}"
            raise ObjectError(where, f"spec.cidrs[{position}]", str(error)) from None
    return tuple(found)
