"""The elements of the table, and which Service has a part in which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.delta import DeltaTracker
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.filter import Element
from kproxy.plan.nftables.packing import LOCAL_SLOTS, SLOT_LENGTH, pack_slot
from kproxy.plan.nftables.slots import SlotTable
from kproxy.plan.nftables.transaction import AddElements, DeleteElements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.nftables.design import Design
    from kproxy.plan.nftables.model import SetSpec
    from kproxy.plan.nftables.shapes import Learn, Shape
    from kproxy.plan.nftables.transaction import Operation
    from kproxy.state.addresses import Family

SLOT_MAPS = (layout.ENDPOINTS, layout.NODE_PORT_ENDPOINTS)
BASES = (0, LOCAL_SLOTS)

Changes = dict[str, tuple[dict[bytes, bytes], list[bytes]]]
"""By set: the elements to write, and the keys to delete. Endpoints, which are in slots, are not among them."""


class _Service(msgspec.Struct):
    """One Service, and what it added when it was last looked at."""

    intents: tuple[PortIntent, ...]
    elements: list[Element] = []
    lists: list[tuple[str, bytes]] = []
    shapes: list[Shape | Learn] = []


class Contents:
    """Desired elements of all sets of a table but the dynamic one, and the difference to what the kernel holds."""

    def __init__(self, family: Family, design: Design, specs: Mapping[str, SetSpec]) -> None:
        self._design = design
        self._specs = specs
        self._services: dict[str, _Service] = {}
        self._unplanned: set[str] = set()
        self._shared: dict[tuple[str, bytes], int] = {}
        self._shapes: dict[Shape | Learn, int] = {}
        self._shapes_changed = True
        width = family.bits // 8 + 4
        self.slots = {name: SlotTable(width) for name in SLOT_MAPS}
        self.trackers: dict[str, DeltaTracker[bytes, bytes]] = {
            name: DeltaTracker() for name in specs if name not in (*SLOT_MAPS, layout.AFFINITY)
        }

    @property
    def shapes(self) -> AbstractSet[Shape | Learn]:
        """The shapes that some frontend has."""
        return self._shapes.keys()

    def set_element(self, name: str, key: bytes, *, wanted: bool) -> None:
        """Enter or remove an element of a set that no Service has a part in."""
        if wanted:
            self.trackers[name].want(key, b"")
        else:
            self.trackers[name].unwant(key)

    def set_service(self, key: str, intents: Iterable[PortIntent]) -> None:
        """Enter or replace one Service ("namespace/name"); without intents it goes."""
        intents = tuple(intents)
        if key in self._services:
            self._services[key].intents = intents
        elif intents:
            self._services[key] = _Service(intents)
        else:
            return
        self._unplanned.add(key)

    def plan_all(self) -> None:
        """Have every Service planned again."""
        self._unplanned.update(self._services)

    def plan(self, node_ip: str) -> bool:
        """Plan the Services that changed; tell whether other shapes are needed now.

        First all that they had goes, then all that they have comes: so a frontend can pass from one to another.
        """
        changed = [(key, self._services[key]) for key in self._unplanned]
        self._unplanned.clear()
        for _, service in changed:
            self._withdraw(service)
        for key, service in changed:
            if service.intents:
                self._enter(service, node_ip)
            else:
                del self._services[key]
        shapes_changed, self._shapes_changed = self._shapes_changed, False
        return shapes_changed

    def changes(self) -> Changes:
        """Return what differs, but for endpoints."""
        return {name: (tracker.updates(), tracker.deletions()) for name, tracker in self.trackers.items()}

    def operations(self, changes: Changes) -> Iterator[Operation]:
        """Yield what writes `changes`, and the endpoints that differ."""
        for name, (updates, deletions) in changes.items():
            held = self.trackers[name].actual
            yield from self._replace(name, deletions + [key for key in updates if key in held], updates)
        for name, slots in self.slots.items():
            yield from self._replace(name, *slots.difference())

    def applied(self, changes: Changes) -> None:
        """Record that changes, and the endpoints that went with them, are in the kernel."""
        for name, (updates, deletions) in changes.items():
            self.trackers[name].applied(updates, deletions)
        for slots in self.slots.values():
            slots.applied()

    def read_back(self, elements: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Believe that the kernel holds exactly these elements, by set."""
        for name, tracker in self.trackers.items():
            tracker.replace_actual(elements.get(name, {}))
        for name, slots in self.slots.items():
            slots.read_back(elements.get(name, {}), BASES)

    def elements(self) -> dict[str, dict[bytes, bytes]]:
        """Return all wanted elements by set, as last planned."""
        found = {name: dict(tracker.desired) for name, tracker in self.trackers.items()}
        return found | {name: dict(slots.elements()) for name, slots in self.slots.items()}

    def owner_of(self, name: str, key: bytes) -> str | None:
        """Return the Service that an element of a set comes from; None if it is not one Service's."""
        for service, held in self._services.items():
            if any(element.set == name and element.key == key for element in held.elements):
                return service
            if any(where == name and key.startswith(list_name[:-SLOT_LENGTH]) for where, list_name in held.lists):
                return service
        return None

    def _replace(self, name: str, gone: list[bytes], new: dict[bytes, bytes]) -> Iterator[Operation]:
        if gone:
            yield DeleteElements(self._specs[name], gone)
        if new:
            yield AddElements(self._specs[name], new)

    def _withdraw(self, service: _Service) -> None:
        for element in service.elements:
            if element.shared:
                left = self._shared.pop((element.set, element.key)) - 1
                if left:
                    self._shared[element.set, element.key] = left
                    continue
            self.trackers[element.set].unwant(element.key)
        for name, key in service.lists:
            self.slots[name].want(key, ())
        for shape in service.shapes:
            self._shapes[shape] -= 1
            if not self._shapes[shape]:
                del self._shapes[shape]
                self._shapes_changed = True

    def _enter(self, service: _Service, node_ip: str) -> None:
        service.elements, service.lists, service.shapes = [], [], []
        for intent in service.intents:
            service.elements += self._design.elements(intent, node_ip)
            for plan in self._design.frontends(intent, node_ip):
                service.elements.append(Element(plan.services, plan.key, plan.verdict()))
                service.shapes.append(plan.shape)
                if plan.affinity is not None:
                    service.elements.append(Element(plan.learners, plan.key, plan.learning()))
                    service.shapes.append(plan.affinity)
                for base, endpoints in plan.lists.items():
                    name = plan.key + pack_slot(base)
                    service.lists.append((plan.endpoints, name))
                    self.slots[plan.endpoints].want(name, endpoints)
        for element in service.elements:
            if element.shared:
                at = (element.set, element.key)
                self._shared[at] = self._shared.get(at, 0) + 1
            self.trackers[element.set].want(element.key, element.value)
        for shape in service.shapes:
            if shape not in self._shapes:
                self._shapes_changed = True
            self._shapes[shape] = self._shapes.get(shape, 0) + 1
