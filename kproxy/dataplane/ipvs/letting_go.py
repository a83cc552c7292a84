"""Lets go of what IPVS mode left on a node that another mode serves now: at once what has no connections.

It needs no memory: each look finds in the kernel what is still there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.dataplane.addresses import local_addresses
from kproxy.dataplane.ipvs.kernel import IpvsKernel, find_ipvs
from kproxy.dataplane.ipvs.leftovers import read_ownership, remove_link
from kproxy.dataplane.nftables.leftovers import remove_tables
from kproxy.dataplane.nftables.reader import read_table
from kproxy.dataplane.nftables.writer import commit
from kproxy.errors import FeatureMissing
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.ipvs.drain import DRAINING_WEIGHT, drains
from kproxy.plan.ipvs.filter import TABLE
from kproxy.plan.ipvs.remains import guard, guard_elements, guard_transaction, staying
from kproxy.plan.ipvs.servers import IpvsDifference
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kproxy.plan.ipvs.server import VirtualServer
    from kproxy.state.addresses import Family


class LetGo(NamedTuple):
    """What was removed, in words, and how many virtual servers stay for their connections."""

    removed: list[str]
    staying: int


def let_go_of_ipvs(excluded: tuple[str, ...] = ()) -> LetGo:
    """Give no new connections to the virtual servers that are ours, and remove what has none left.

    Foreign virtual servers stay, and those with an address in the CIDRs `excluded`. Raises `KernelError`.
    """
    try:
        message_type = find_ipvs()
    except FeatureMissing:
        return LetGo([], 0)
    removed, stay = [], 0
    local = local_addresses()
    for family in FAMILIES:
        gone, left = _let_go(IpvsKernel(family, message_type), local[family], excluded)
        stay += left
        if gone:
            removed.append(f"{gone} {family} virtual servers")
    if not stay:
        removed += remove_link()
        remove_tables([TABLE])
    return LetGo(removed, stay)


def _let_go(kernel: IpvsKernel, node_ips: tuple[str, ...], excluded: tuple[str, ...]) -> tuple[int, int]:
    """Return how many virtual servers of one family went, and how many stay."""
    family, held = kernel.family, kernel.read()
    if not held.servers and not held.addresses:
        return 0, 0
    ours = read_ownership(family, held.addresses, node_ips, excluded).ours(held.servers)
    waiting = {server for server in ours if drains(server)}
    weights = {one: DRAINING_WEIGHT for one, weight in held.destinations.items() if weight and one.server in waiting}
    # Before the connections are counted: what has none then gets none any more.
    kernel.apply(IpvsDifference(set_destinations=weights))
    stay = staying(kernel.connections(waiting))
    vips = {server.ip for server in stay}.intersection(held.addresses)
    gone = sorted(ours - stay)
    # An address that the node still has must not be without its guard, and what can't be deleted yet must stay ours.
    _stand_guard(family, ours, held.addresses)
    kernel.apply(IpvsDifference(delete_addresses=sorted(set(held.addresses) - vips), delete_servers=gone))
    _stand_guard(family, stay, vips)
    return len(gone), len(stay)


def _stand_guard(family: Family, servers: Collection[VirtualServer], vips: Iterable[str]) -> None:
    table, elements = guard(family), guard_elements(servers, vips)
    with NetlinkSocket() as netlink:
        held = read_table(netlink, family, TABLE)
        stands = (held.table, held.elements) == (table, elements) if held else not any(elements.values())
        if not stands:
            commit(netlink, guard_transaction(table, elements))
