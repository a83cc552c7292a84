"""What stays of IPVS mode when another mode has taken over: virtual servers whose connections go on, and their guard.

New connections are the other mode's: it translates them before IPVS sees them. The connections that IPVS made need
their virtual servers, with weight 0, and the VIPs, without which the node would not take the packets. So both stay, and
in place of the mode's table one that refuses what nobody translates: new connections to a virtual server that is let
go of, and to every other port of such a VIP, behind which the host's own processes are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.ipvs.drain import drains
from kproxy.plan.ipvs.filter import BEFORE_IPVS, DRAINING, TABLE, VIPS
from kproxy.plan.nftables import layout
from kproxy.plan.nftables import rules as r
from kproxy.plan.nftables.expressions import Masquerade
from kproxy.plan.nftables.model import L4PROTO, TH_DPORT, Chain, Hook, SetSpec, Table
from kproxy.plan.nftables.packing import destination_field, pack_frontend, pack_ip
from kproxy.plan.nftables.transaction import AddChain, AddElements, AddSet, AddTable, DeleteTable, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.ipvs.server import Destination, VirtualServer
    from kproxy.plan.nftables.transaction import Operation
    from kproxy.state.addresses import Family

LAYOUT = "kproxy, what is left of IPVS mode"

_CLOSED = "ipvs-closed"
_AFTER_FILTER = 1
"""In the input hook: after the verdicts of the mode that serves now."""


def staying(connections: Mapping[Destination, int]) -> set[VirtualServer]:
    """Return the virtual servers that have connections to wait for, of those whose destinations were counted."""
    return {one.server for one, count in connections.items() if count and drains(one.server)}


def guard(family: Family) -> Table:
    """Return the table that stands guard, without its elements."""
    destination, service, new = destination_field(family), r.frontend(family), r.connection_is_new()
    closed = r.rule(new, r.jump(_CLOSED))
    return Table(
        family,
        TABLE,
        comment=LAYOUT,
        sets=(SetSpec(DRAINING, (destination, L4PROTO, TH_DPORT)), SetSpec(VIPS, (destination,))),
        chains=(
            layout.refusing(),
            Chain(
                _CLOSED,
                (
                    r.rule(r.in_set(service, DRAINING), r.goto(layout.REFUSE)),
                    r.rule(r.in_set(r.load(family, "daddr"), VIPS), r.goto(layout.REFUSE)),
                ),
            ),
            Chain("filter-input", (closed,), Hook("filter", "input", _AFTER_FILTER)),
            Chain("filter-output", (closed,), Hook("filter", "output", BEFORE_IPVS)),
            # A process of the node that leaves its address to the kernel gets the VIP itself.
            Chain(
                "nat-postrouting",
                (r.rule(r.in_set(r.load(family, "saddr"), VIPS), Masquerade(fully_random=True)),),
                Hook("nat", "postrouting", layout.SNAT),
            ),
        ),
    )


def guard_elements(servers: Iterable[VirtualServer], vips: Iterable[str]) -> dict[str, dict[bytes, bytes]]:
    """Return the elements of the guard's sets: the virtual servers that are let go of, and the VIPs that stay."""
    keys = (pack_frontend(server.ip, server.protocol, server.port) for server in servers)
    return {DRAINING: dict.fromkeys(keys, b""), VIPS: dict.fromkeys(map(pack_ip, vips), b"")}


def guard_transaction(table: Table, elements: Mapping[str, Mapping[bytes, bytes]]) -> Transaction:
    """Return the transaction that puts the guard in the place of whatever has its name, in one step."""
    operations: list[Operation] = [AddTable(table.comment), DeleteTable(), AddTable(table.comment)]
    operations += map(AddSet, table.sets)
    operations += map(AddChain, table.chains)
    operations += (AddElements(spec, elements[spec.name]) for spec in table.sets if elements[spec.name])
    return Transaction(table.family, table.name, tuple(operations))
