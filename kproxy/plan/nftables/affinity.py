"""Which pins of session affinity have to go: nobody may be sent to an endpoint that his frontend no longer has.

The kernel learns pins by itself (`affinity`: client and frontend -> endpoint) and forgets them when their time is up.
When a frontend loses an endpoint, kproxy looks for its pins and deletes them with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.nftables.packing import LOCAL_SLOTS, pack_slot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from kproxy.plan.nftables.slots import SlotTable

_CLUSTER, _LOCAL = pack_slot(0), pack_slot(LOCAL_SLOTS)


class Stickiness:
    """The frontends of one kind (with an address, or node ports) that have affinity, and their endpoints.

    `learners` are the frontends (keys) for which clients are remembered from now on.
    """

    def __init__(self, learners: AbstractSet[bytes], slots: SlotTable) -> None:
        self._learners = learners
        self._slots = slots
        self._lost: dict[bytes, frozenset[bytes]] = {}

    def note_losses(self) -> bool:
        """Note what frontends lose by what is planned; tell whether that is anything. To be called before it is done.

        Where a local list appears, clients from outside belong to it: pins to other endpoints are lost.
        """
        for frontend in {name[: -len(_CLUSTER)] for name in self._slots.touched}:
            if frontend in self._learners:
                lost = self._losses(frontend)
                if lost:
                    self._lost[frontend] = frozenset(lost)
        return bool(self._lost)

    def knows(self, frontend: bytes) -> bool:
        """Tell whether a frontend has affinity."""
        return frontend in self._learners

    def is_stale(self, frontend: bytes, endpoint: bytes) -> bool:
        """Tell whether a pin of a frontend that has affinity leads to an endpoint that is gone, or was when noted."""
        if endpoint in self._lost.get(frontend, ()):
            return True
        lists = (self._slots.wanted(frontend + _CLUSTER), self._slots.wanted(frontend + _LOCAL))
        return not any(_holds(endpoints, endpoint) for endpoints in lists)

    def _losses(self, frontend: bytes) -> set[bytes]:
        before = self._slots.endpoints_of(self._slots.held(frontend + _CLUSTER))
        lost: set[bytes] = set()
        for base in (_CLUSTER, _LOCAL):
            lost |= self._slots.endpoints_of(self._slots.held(frontend + base)) - self._slots.endpoints_of(
                self._slots.wanted(frontend + base)
            )
        local = self._slots.wanted(frontend + _LOCAL)
        if local and not self._slots.held(frontend + _LOCAL):
            lost |= before - self._slots.endpoints_of(local)
        return lost


def _holds(endpoints: bytes, endpoint: bytes) -> bool:
    width = len(endpoint)
    at = endpoints.find(endpoint)
    while at >= 0 and at % width:
        at = endpoints.find(endpoint, at + 1)
    return at >= 0


def stale_pins(
    pins: Mapping[bytes, bytes], services: Stickiness, node_ports: Stickiness, address_length: int
) -> list[bytes]:
    """Return the keys of the pins that have to go."""
    stale = []
    for key, endpoint in pins.items():
        frontend = key[address_length:]
        if services.knows(frontend):
            gone = services.is_stale(frontend, endpoint)
        else:
            node_port = frontend[address_length:]
            gone = not node_ports.knows(node_port) or node_ports.is_stale(node_port, endpoint)
        if gone:
            stale.append(key)
    return stale
