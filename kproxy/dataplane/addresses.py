"""The addresses of this node, as the kernel has them now."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from kproxy.errors import KernelError
from kproxy.netlink import route
from kproxy.netlink.errors import DumpInterrupted, NetlinkRefused
from kproxy.netlink.socket import NetlinkSocket
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Collection

VIP_LINK = "kube-ipvs0"
"""The link that carries the VIPs in IPVS mode; kube-proxy's name. Its addresses are not the node's."""

_ATTEMPTS = 10


def local_addresses(*, except_links: Collection[str] = (VIP_LINK,)) -> dict[Family, tuple[str, ...]]:
    """Return the addresses of all links per family, each once, as canonical strings, sorted.

    Loopback addresses are among them. Left out are: those of the links named in `except_links`, which are not even
    listed (VIPs may be tens of thousands); IPv6 link-local ones, which say nothing without a link; and those for which
    duplicate detection failed, since they belong to another host. An address still under detection counts: a rule for
    it does no harm till then.

    Reads the network namespace of the calling thread, in less than a millisecond. Raises `KernelError`.
    """
    found: dict[Family, set[str]] = {family: set() for family in FAMILIES}
    with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
        for link in _links(except_links):
            for address in list_addresses(netlink, link=link):
                if address.flags & route.DADFAILED:
                    continue
                if address.family is Family.IPV6 and ipaddress.IPv6Address(address.ip).is_link_local:
                    continue
                found[address.family].add(address.ip)
    return {family: tuple(sorted(ips, key=ipaddress.ip_address)) for family, ips in found.items()}


def link_indexes(names: Collection[str]) -> set[int]:
    """Return the indexes of those links that are there. Raises `KernelError`."""
    return {index for index, name in _all_links() if name in names} if names else set()


def list_addresses(netlink: NetlinkSocket, family: Family | None = None, link: int = 0) -> list[route.LinkAddress]:
    """List addresses over a socket of rtnetlink: of both families (None) or one, of all links (0) or one.

    Again as long as they change meanwhile; what was seen has to do when that does not end. A link that went has none.
    """
    found: list[route.LinkAddress] = []
    for _attempt in range(_ATTEMPTS):
        found.clear()
        try:
            for message in netlink.dump(route.dump_request(family, link)):
                address = route.read_address(message)
                if address is not None and link in (0, address.link):
                    found.append(address)
        except DumpInterrupted:
            continue
        except NetlinkRefused as refused:
            if refused.code != errno.ENODEV:
                raise
        break
    return found


def _links(left_out: Collection[str]) -> list[int]:
    """Return the links to ask for: 0, which stands for all of them, unless one that is there is to be left out."""
    passed_over = link_indexes(left_out)
    return [index for index, _ in _all_links() if index not in passed_over] if passed_over else [0]


def _all_links() -> list[tuple[int, str]]:
    try:
        return socket.if_nameindex()
    except OSError as error:  # no file descriptors left, for one
        raise KernelError(f"list the links of this node: {error.strerror}") from None
