"""The addresses of this node, as the kernel has them now."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from kproxy.errors import KernelError
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Collection

_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_DADFAILED = 0x08  # IFA_F_DADFAILED, linux/if_addr.h


def local_addresses(*, except_links: Collection[str] = ()) -> dict[Family, tuple[str, ...]]:
    """Return the addresses of all links per family, each once, as canonical strings, sorted.

    Loopback addresses are among them. Left out are: those of the links named in `except_links` (kube-ipvs0 carries
    addresses that are not the node's); IPv6 link-local ones, which say nothing without a link; and those for which
    duplicate detection failed, since they belong to another host. An address still under detection counts: a rule for
    it does no harm till then.

    Blocks for a millisecond or two, and must not be called in a thread that runs an event loop (pyroute2 runs its own
    there). Reads the network namespace of the calling thread. Raises `KernelError`.
    """
    try:
        with IPRoute() as route:
            links = route.get_links() if except_links else ()
            skipped = {link["index"] for link in links if link.get_attr("IFLA_IFNAME") in except_links}
            return {
                family: tuple(sorted(_usable(route.get_addr(family=number), skipped), key=ipaddress.ip_address))
                for family, number in _AF.items()
            }
    except (NetlinkError, OSError) as error:
        raise KernelError(f"list the addresses of this node: {error}") from None


def _usable(entries: Any, skipped_links: Collection[int]) -> set[str]:
    found = set()
    for entry in entries:
        # IFA_FLAGS has all flags, the header only the first eight. On a point-to-point link IFA_ADDRESS is the peer.
        flags = entry.get_attr("IFA_FLAGS") or entry["flags"]
        address = ipaddress.ip_address(entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"))
        if entry["index"] in skipped_links or flags & _DADFAILED:
            continue
        if address.version == 6 and address.is_link_local:
            continue
        found.add(str(address))
    return found
