"""The sets of ipset over netlink: which there are, what is in them, away with one. Pure: no socket.

Layouts: the kernel's include/uapi/linux/netfilter/ipset/ip_set.h. Values are big endian. What is listed of a set::

    IPSET_ATTR_SETNAME, IPSET_ATTR_TYPENAME, ..., IPSET_ATTR_ADT {
        IPSET_ATTR_DATA { IPSET_ATTR_IP { IPSET_ATTR_IPADDR_IPV4 }, IPSET_ATTR_PORT, IPSET_ATTR_PROTO },
        ... }

A large set comes in several messages. kproxy makes no sets; it reads those of kube-proxy, whose place it takes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink import nfnetlink
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_DUMP, attribute, attribute_map, split_attributes
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_USE = 4100
"""IPSET_ERR_BUSY: rules refer to the set."""

_DESTROY, _LIST = (nfnetlink.message_type(nfnetlink.IPSET, command) for command in (3, 7))  # IPSET_CMD_*
_PROTOCOL, _NAME, _FLAGS, _MEMBER, _MEMBERS = 1, 2, 6, 7, 8  # IPSET_ATTR_*; the last two: _DATA, _ADT
_IP, _PORT, _PROTO = 1, 4, 7  # of a member
_VERSION = 6
"""Of the protocol; newer kernels speak it too."""
_NAMES_ONLY = 1 << 1  # IPSET_FLAG_LIST_SETNAME

_U32 = struct.Struct("!I")


class Member(msgspec.Struct, frozen=True, gc=False):
    """A member as far as it matters here: packed address (empty in a set of ports), IP protocol (0: none), port."""

    ip: bytes
    protocol: int
    port: int


def list_names() -> Request:
    """Return the dump request for the names of all sets; EINVAL: this kernel has no ipset.

    Equivalent: `ipset -n list`.
    """
    return Request("list the ipsets", _LIST, _body() + attribute(_FLAGS, _U32.pack(_NAMES_ONLY)), F_DUMP)


def list_members(name: str) -> Request:
    """Return the dump request for one set; ENOENT: it is gone. Equivalent: `ipset list NAME`."""
    return Request(f"list the ipset {name}", _LIST, _body() + _named(name), F_DUMP)


def destroy(name: str) -> Request:
    """Return the request to destroy a set; `IN_USE`: it stays, ENOENT (kernels of old): it is gone.

    Equivalent: `ipset -exist destroy NAME`.
    """
    return Request(f"destroy the ipset {name}", _DESTROY, _body() + _named(name))


def read_name(body: bytes) -> str:
    """Return the name in a message of an answer. Raises `MalformedMessage`."""
    return attribute_map(body, nfnetlink.HEADER_LENGTH).get(_NAME, b"").rstrip(b"\0").decode(errors="replace")


def read_members(body: bytes) -> Iterator[Member]:
    """Yield the members in a message of the answer to `list_members`. Raises `MalformedMessage`."""
    listed = attribute_map(body, nfnetlink.HEADER_LENGTH).get(_MEMBERS, b"")
    for kind, value in split_attributes(listed):
        if kind == _MEMBER:
            said = attribute_map(value)
            addresses = list(split_attributes(said.get(_IP, b"")))
            ip = addresses[0][1] if addresses else b""
            yield Member(ip, int.from_bytes(said.get(_PROTO, b"")), int.from_bytes(said.get(_PORT, b"")))


def _body() -> bytes:
    return nfnetlink.header(Family.IPV4) + attribute(_PROTOCOL, bytes([_VERSION]))


def _named(name: str) -> bytes:
    return attribute(_NAME, name.encode() + b"\0")
