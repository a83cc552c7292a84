"""The addresses of this node, as the kernel has them now."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from kproxy.netlink import route
from kproxy.netlink.errors import DumpInterrupted
from kproxy.netlink.socket import NetlinkSocket
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Collection

_ATTEMPTS = 10


def local_addresses(*, except_links: Collection[str] = ()) -> dict[Family, tuple[str, ...]]:
    """Return the addresses of all links per family, each once, as canonical strings, sorted.

    Loopback addresses are among them. Left out are: those of the links named in `except_links` (kube-ipvs0 carries
    addresses that are not the node's); IPv6 link-local ones, which say nothing without a link; and those for which
    duplicate detection failed, since they belong to another host. An address still under detection counts: a rule for
    it does no harm till then.

    Reads the network namespace of the calling thread, in less than a millisecond. Raises `KernelError`.
    """
    skipped = link_indexes(except_links)
    found: dict[Family, set[str]] = {family: set() for family in FAMILIES}
    for address in _list():
        if address.link in skipped or address.flags & route.DADFAILED:
            continue
        if address.family is Family.IPV6 and ipaddress.IPv6Address(address.ip).is_link_local:
            continue
        found[address.family].add(address.ip)
    return {family: tuple(sorted(ips, key=ipaddress.ip_address)) for family, ips in found.items()}


def link_indexes(names: Collection[str]) -> set[int]:
    """Return the indexes of those links that are there."""
    return {index for index, name in socket.if_nameindex() if name in names} if names else set()


def _list() -> list[route.LinkAddress]:
    """List all; again as long as they change meanwhile, and what was seen has to do when that does not end."""
    found: list[route.LinkAddress] = []
    with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
        for _attempt in range(_ATTEMPTS):
            found.clear()
            try:
                for message in netlink.dump(route.dump_request()):
                    address = route.read_address(message)
                    if address is not None:
                        found.append(address)
            except DumpInterrupted:
                continue
            break
    return found
