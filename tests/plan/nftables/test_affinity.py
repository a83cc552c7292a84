"""Which pins go: those that lead to an endpoint that their frontend has not got, or has lost."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from kproxy.plan.nftables.affinity import Stickiness, stale_pins
from kproxy.plan.nftables.packing import LOCAL_SLOTS, pack_backend, pack_frontend, pack_ip, pack_slot
from kproxy.plan.nftables.slots import SlotTable

CLIENT = pack_ip("10.0.0.1")
SERVICE = pack_frontend("10.96.0.10", "TCP", 80)
NODE_PORT = pack_frontend("", "TCP", 30080)


class Lists(NamedTuple):
    """The endpoints of a frontend, by the last number of their address."""

    cluster: str
    local: str = ""


def packed(numbers: str) -> list[bytes]:
    return [pack_backend(f"10.180.0.{number}", 8080) for number in numbers.split()]


def change(frontend: bytes, before: Lists, after: Lists, *, learners: bool = True) -> Stickiness:
    """A frontend on its way from one state to another."""
    slots = SlotTable(8)
    for lists in (before, after):
        slots.applied()
        for base, numbers in ((0, lists.cluster), (LOCAL_SLOTS, lists.local)):
            slots.want(frontend + pack_slot(base), packed(numbers))
    return Stickiness({frontend} if learners else set(), slots)


def nothing() -> Stickiness:
    return Stickiness(set(), SlotTable(8))


@pytest.mark.parametrize(
    ("before", "after", "pinned", "stale"),
    [
        (Lists("1 2"), Lists("1 2"), "1 2", ""),
        (Lists("1 2"), Lists("2"), "1 2", "1"),
        (Lists("1 2"), Lists("1 2 3"), "1 2", ""),
        (Lists("1 2"), Lists(""), "1 2", "1 2"),
        # A pin that should have gone long ago.
        (Lists("1 2"), Lists("1 2"), "9", "9"),
        # Local policy: clients from outside have the local list, pods the other.
        (Lists("1 2 3", "1"), Lists("1 2 3", "1"), "1 2 3", ""),
        (Lists("1 2 3", "1 2"), Lists("1 2 3", "1"), "1 2 3", "2"),
        # The policy becomes Local: whoever was sent elsewhere is from outside, for all we know.
        (Lists("1 2 3"), Lists("1 2 3", "1"), "1 2 3", "2 3"),
        (Lists("1 2 3", "1"), Lists("1 2 3"), "1 2 3", "1"),
    ],
)
def test_pins(before: Lists, after: Lists, pinned: str, stale: str) -> None:
    for frontend in (SERVICE, NODE_PORT):
        sticky = change(frontend, before, after)
        assert sticky.note_losses() == bool(set(stale.split()) - {"9"})
        key = frontend if frontend is SERVICE else pack_ip("192.168.0.1") + frontend
        pins = {bytes([int(number)]) + CLIENT[1:] + key: packed(number)[0] for number in pinned.split()}
        both = (sticky, nothing()) if frontend is SERVICE else (nothing(), sticky)
        found = stale_pins(pins, *both, address_length=4)
        assert [pins[key] for key in found] == packed(stale)


def test_without_affinity_every_pin_goes() -> None:
    sticky = change(SERVICE, Lists("1"), Lists("1"), learners=False)
    assert not sticky.note_losses()
    assert stale_pins({CLIENT + SERVICE: packed("1")[0]}, sticky, nothing(), 4) == [CLIENT + SERVICE]


def test_an_endpoint_is_looked_for_at_its_own_width_only() -> None:
    """The bytes of one endpoint may be found across two others."""
    first, second = pack_backend("10.1.2.3", 0x0A01), pack_backend("2.3.0.0", 1)
    across = (first + second)[4:12]
    slots = SlotTable(8)
    slots.want(SERVICE + pack_slot(0), [first, second])
    sticky = Stickiness({SERVICE}, slots)
    assert stale_pins({CLIENT + SERVICE: across}, sticky, nothing(), 4) == [CLIENT + SERVICE]
    assert stale_pins({CLIENT + SERVICE: second}, sticky, nothing(), 4) == []
