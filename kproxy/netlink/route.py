"""Addresses of links over rtnetlink: ask for all of them, read one. Pure: no socket.

Layouts: the kernel's include/uapi/linux/if_addr.h and rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_DUMP, attribute_map
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from kproxy.netlink.message import Message

NETLINK_ROUTE = 0
ADDRESS_GROUPS = 0x10 | 0x100
"""Multicast groups that tell of addresses: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR."""

_NEW_ADDRESS, _DELETED_ADDRESS, _GET_ADDRESS = 20, 21, 22  # RTM_*
_ADDRESS, _LOCAL, _FLAGS = 1, 2, 8  # IFA_*
DADFAILED = 0x08  # IFA_F_DADFAILED

# struct ifaddrmsg: family, prefix length, flags, scope, index of the link.
_HEADER = struct.Struct("=BBBBI")
_U32 = struct.Struct("=I")
_LENGTHS = {Family.IPV4: 4, Family.IPV6: 16}
_FAMILIES = {2: Family.IPV4, 10: Family.IPV6}  # AF_INET, AF_INET6


class LinkAddress(msgspec.Struct, frozen=True, gc=False):
    """An address (canonical) that the link with this index has; `flags` are IFA_F_*."""

    family: Family
    ip: str
    link: int
    flags: int


def dump_request() -> Request:
    """Return the request for all addresses of both families. Equivalent: `ip address show`."""
    return Request("list the addresses of this node", _GET_ADDRESS, _HEADER.pack(0, 0, 0, 0, 0), F_DUMP)


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
    packed = attributes.get(_LOCAL) or attributes.get(_ADDRESS, b"")
    if len(packed) != _LENGTHS[family]:
        raise MalformedMessage(f"rtnetlink: {family} address of {len(packed)} bytes")
    if len(attributes.get(_FLAGS, b"")) == _U32.size:
        (flags,) = _U32.unpack(attributes[_FLAGS])
    return LinkAddress(family, str(ipaddress.ip_address(packed)), link, flags)
