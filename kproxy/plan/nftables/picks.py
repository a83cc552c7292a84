"""Choosing an endpoint at random: the only rules that look into the maps of endpoints.

A list of endpoints has the size 4, 8, 16 and so on: the next that holds all of them. ``balance-8`` tries slots at
random until one is filled::

    chain pick-8    { dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 8 map @endpoints; }
    chain balance-8 { jump pick-8; ...; jump pick-8; jump pick-4; goto pick-1; }

Why not `numgen random mod 5` for five endpoints, and a chain for each number? Because the kernel walks a whole verdict
map where a `goto` is entered into it, and a whole map of endpoints for every new rule that looks into it: tens of
milliseconds in a big cluster whenever an endpoint comes or goes. So the verdicts of a Service depend on the size
alone, and the picks up to 64 are there from the start. docs/decisions/0020-sizes-of-lists.md has the figures.

At least every second slot is filled (in the smallest list, every fourth), so that a packet is hardly ever left after
`TRIES` of them; the first half of the slots is filled for sure. The last, slot 0, is there as long as any endpoint is:
for a single one, and for a packet that looked its size up just before a change and its endpoint just after. The share
of no endpoint is off by more than 0.4 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.nftables import rules as r
from kproxy.plan.nftables.model import Chain
from kproxy.plan.nftables.packing import LOCAL_SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.state.addresses import Family

SMALLEST = 4
TRIES = 8
PREPARED = (1, 2, 4, 8, 16, 32, 64)
"""The picks that are always there."""

ENDPOINTS = "endpoints"
NODE_PORT_ENDPOINTS = "nodeport-endpoints"


def size_of(endpoints: int) -> int:
    """Return the size of the list for so many endpoints; 0 for none."""
    return max(SMALLEST, 1 << (endpoints - 1).bit_length()) if endpoints else 0


def prepared_picks(family: Family) -> Iterator[Chain]:
    """Yield the picks that are always there."""
    for node_port in (False, True):
        for local in (False, True):
            for slots in PREPARED:
                yield _pick(family, slots, node_port=node_port, local=local)


def balance(family: Family, size: int, *, node_port: bool, local: bool) -> tuple[Chain, ...]:
    """Return the chain that chooses from a list of that size, after the picks that it needs and that may not be there.

    `node_port`: from the map without addresses. `local`: from the list of endpoints on this node.
    """
    steps = (*(size,) * TRIES, size // 2)
    rules = [r.rule(r.jump(_name("pick", slots, node_port, local))) for slots in steps]
    rules.append(r.rule(r.goto(_name("pick", 1, node_port, local))))
    missing = [slots for slots in (size // 2, size) if slots not in PREPARED]
    return (
        *(_pick(family, slots, node_port=node_port, local=local) for slots in missing),
        Chain(balance_name(size, node_port=node_port, local=local), tuple(rules)),
    )


def balance_name(size: int, *, node_port: bool, local: bool) -> str:
    """Return the name of the chain that chooses."""
    return _name("balance", size, node_port, local)


def _pick(family: Family, slots: int, *, node_port: bool, local: bool) -> Chain:
    key = r.NODE_PORT if node_port else r.frontend(family)
    endpoints = NODE_PORT_ENDPOINTS if node_port else ENDPOINTS
    translate = r.translate(family, key, slots, LOCAL_SLOTS if local else 0, endpoints)
    return Chain(_name("pick", slots, node_port, local), (r.rule(translate),))


def _name(what: str, size: int, node_port: bool, local: bool) -> str:
    return f"{'nodeport-' * node_port}{what}{'-local' * local}-{size}"
