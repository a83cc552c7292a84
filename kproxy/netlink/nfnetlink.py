"""What all netfilter protocols on netlink share: message types and the header before the attributes.

Layout: the kernel's include/uapi/linux/netfilter/nfnetlink.h (`struct nfgenmsg`).
"""

from __future__ import annotations

import struct

from kproxy.netlink.errors import MalformedMessage
from kproxy.state.addresses import Family

NETLINK_NETFILTER = 12

CONNTRACK = 1
IPSET = 6
NFTABLES = 10

BATCH_BEGIN = 0x10
BATCH_END = 0x11

HEADER_LENGTH = 4
_HEADER = struct.Struct("!BBH")
_FAMILIES = {Family.IPV4: 2, Family.IPV6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6
_FAMILY_OF = {number: family for family, number in _FAMILIES.items()}


def message_type(subsystem: int, operation: int) -> int:
    """Return the netlink message type of one operation of a subsystem."""
    return subsystem << 8 | operation


def header(family: Family | None, resource: int = 0) -> bytes:
    """Return the `nfgenmsg`. None: no family. `resource` is the subsystem in a BATCH_BEGIN, else 0."""
    return _HEADER.pack(_FAMILIES[family] if family else 0, 0, resource)


def family_of(body: bytes) -> Family | None:
    """Return the family in the header of a message body; None: another one. Raises `MalformedMessage`."""
    if len(body) < HEADER_LENGTH:
        raise MalformedMessage(f"nfnetlink: message body with only {len(body)} bytes")
    return _FAMILY_OF.get(body[0])
