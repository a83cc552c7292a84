"""Links and their addresses over rtnetlink: list, read, add, delete. Pure: no socket.

Layouts: the kernel's include/uapi/linux/if_addr.h, if_link.h and rtnetlink.h. Headers are in host byte order,
addresses in network order.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_CREATE, F_DUMP, F_EXCL, attribute, attribute_map, nested
from kproxy.state.addresses import Family, packed

if TYPE_CHECKING:
    from kproxy.netlink.message import Message

NETLINK_ROUTE = 0
ADDRESS_GROUPS = 0x10 | 0x100
"""Multicast groups that tell of addresses: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""

_NEW_LINK, _DELETE_LINK, _GET_LINK = 16, 17, 18  # RTM_*
_NEW_ADDRESS, _DELETED_ADDRESS, _GET_ADDRESS = 20, 21, 22
_IFNAME, _LINKINFO, _INFO_KIND = 3, 18, 1  # IFLA_*
_ADDRESS, _LOCAL, _CACHE_INFO, _FLAGS = 1, 2, 6, 8  # IFA_*
NODAD = 0x02  # IFA_F_NODAD
DADFAILED = 0x08  # IFA_F_DADFAILED

# struct ifaddrmsg: family, prefix length, flags, scope, index of the link.
_HEADER = struct.Struct("=BBBBI")
_U32 = struct.Struct("=I")
_LENGTHS = {Family.IPV4: 4, Family.IPV6: 16}
_AF_OF = {Family.IPV4: 2, Family.IPV6: 10}  # AF_INET, AF_INET6
_FAMILIES = {number: family for family, number in _AF_OF.items()}
_LINK_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg: family, device type, index, flags, flags to change
_LIFETIMES = struct.Struct("=IIII")  # struct ifa_cacheinfo: preferred, valid, created, updated
_FOREVER = 0xFFFFFFFF


class LinkAddress(msgspec.Struct, frozen=True, gc=False):
    """An address (canonical) that the link with this index has; `flags` are IFA_F_*."""

    family: Family
    ip: str
    link: int
    flags: int


def dump_request(family: Family | None = None, link: int = 0) -> Request:
    """Return the request for all addresses, of both families (None) or one, on all links (0) or one.

    The kernel looks at the link only since Linux 4.20, and if the socket asks for it (NETLINK_GET_STRICT_CHK), so the
    reader must check again; ENODEV in answer: there is no such link. Equivalent: `ip -4 address show [dev LINK]`.
    """
    header = _HEADER.pack(_AF_OF[family] if family else 0, 0, 0, 0, link)
    return Request("list the addresses of this node", _GET_ADDRESS, header, F_DUMP)


def read_address(message: Message) -> LinkAddress | None:
    """Read what a list or a notification says; None: it is about something else. Raises `MalformedMessage`."""
    body = message.body
    if message.type not in (_NEW_ADDRESS, _DELETED_ADDRESS):
        return None
    if len(body) < _HEADER.size:
        raise MalformedMessage(f"rtnetlink: address with only {len(body)} bytes")
    number, _, flags, _, link = _HEADER.unpack_from(body)
    family = _FAMILIES.get(number)
    if family is None:
        return None
    attributes = attribute_map(body, _HEADER.size)
    # IFA_FLAGS has all flags, the header only the first eight. On a point-to-point link IFA_ADDRESS is the peer.
    value = attributes.get(_LOCAL) or attributes.get(_ADDRESS, b"")
    if len(value) != _LENGTHS[family]:
        raise MalformedMessage(f"rtnetlink: {family} address of {len(value)} bytes")
    if len(attributes.get(_FLAGS, b"")) == _U32.size:
        (flags,) = _U32.unpack(attributes[_FLAGS])
    return LinkAddress(family, str(ipaddress.ip_address(value)), link, flags)


def find_link(name: str) -> Request:
    """Return the request for a link by its name; ENODEV in answer: there is none. Equivalent: `ip link show NAME`."""
    body = _LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name.encode() + b"\0")
    return Request(f"find the link {name}", _GET_LINK, body)


def read_link(body: bytes) -> int:
    """Return the index of a link from the answer to `find_link`. Raises `MalformedMessage`."""
    if len(body) < _LINK_HEADER.size:
        raise MalformedMessage("rtnetlink: a link without header")
    return int(_LINK_HEADER.unpack_from(body)[2])


def add_dummy(name: str) -> Request:
    """Return the request for a dummy link; EEXIST: it is there, EOPNOTSUPP: the kernel has no dummy links.

    Equivalent: `ip link add NAME type dummy`.
    """
    body = _LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name.encode() + b"\0")
    body += nested(_LINKINFO, attribute(_INFO_KIND, b"dummy"))
    return Request(f"add the dummy link {name}", _NEW_LINK, body, F_CREATE | F_EXCL)


def delete_link(index: int, name: str) -> Request:
    """Return the request to delete a link, addresses and all. Equivalent: `ip link delete NAME`."""
    return Request(f"delete the link {name}", _DELETE_LINK, _LINK_HEADER.pack(0, 0, index, 0, 0))


def add_address(link: int, ip: str) -> Request:
    """Return the request to give a link one more address, a /32 or /128; EEXIST: it has it.

    An IPv6 address is there at once, and never chosen as a source by itself: of two addresses the kernel prefers the
    one that looks more like the destination, and a VIP looks much like a pod.

    Equivalent: `ip address add 10.96.0.10/32 dev LINK`, `ip address add fd00::a/128 nodad preferred_lft 0 dev LINK`.
    """
    body = _address(link, ip)
    if ":" in ip:
        body += attribute(_FLAGS, _U32.pack(NODAD))
        body += attribute(_CACHE_INFO, _LIFETIMES.pack(0, _FOREVER, 0, 0))
    return Request(f"add the address {ip}", _NEW_ADDRESS, body, F_CREATE | F_EXCL)


def delete_address(link: int, ip: str) -> Request:
    """Return the request to take an address from a link; EADDRNOTAVAIL: it has not got it.

    Equivalent: `ip address delete 10.96.0.10/32 dev LINK`.
    """
    return Request(f"delete the address {ip}", _DELETED_ADDRESS, _address(link, ip))


def _address(link: int, ip: str) -> bytes:
    family = Family.IPV6 if ":" in ip else Family.IPV4
    value = packed(ip)
    header = _HEADER.pack(_AF_OF[family], family.bits, 0, 0, link)
    return header + attribute(_LOCAL, value) + attribute(_ADDRESS, value)
