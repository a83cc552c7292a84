"""The conntrack table over netlink: list UDP entries, read them, delete them. Pure: no socket.

Layouts: the kernel's include/uapi/linux/netfilter/nfnetlink_conntrack.h. Values are big endian.

An entry quotes two tuples, original and reply, each of which is laid out as::

    CTA_TUPLE_ORIG { CTA_TUPLE_IP { source, destination }, CTA_TUPLE_PROTO { number, source port, destination port } }

Kernels write them first, and in exactly this order, so the reader compares one fixed layout and walks the attributes
only where that does not fit, which is ten times slower: a busy DNS node has 100,000 entries.
"""

from __future__ import annotations

import ipaddress
import operator
import struct
from typing import TYPE_CHECKING

from kproxy.netlink import nfnetlink
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_DUMP, attribute, attribute_map, nested
from kproxy.plan.stale_flows import Flow
from kproxy.state.addresses import Family, with_port

if TYPE_CHECKING:
    from collections.abc import Mapping

UDP = 17

_GET = nfnetlink.message_type(nfnetlink.CONNTRACK, 1)
_DELETE = nfnetlink.message_type(nfnetlink.CONNTRACK, 2)
ENTRY = nfnetlink.message_type(nfnetlink.CONNTRACK, 0)
"""Message type of a listed entry (IPCTNL_MSG_CT_NEW)."""

_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25  # CTA_*
_TUPLE_IP, _TUPLE_PROTO = 1, 2  # CTA_TUPLE_*
_SOURCE = {Family.IPV4: 1, Family.IPV6: 3}  # CTA_IP_V4_SRC, CTA_IP_V6_SRC; the destination is one more
_PROTO_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_*
_FILTER_ORIG_FLAGS = 1
_BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_CTA_PROTO_NUM, ..._DST_PORT

_PORT = struct.Struct("!H")
_U32 = struct.Struct("=I")


def dump_request(family: Family, port: int | None = None) -> Request:
    """Return the request for all UDP entries of a family, or only those sent to `port`.

    The kernel filters (Linux 5.8 and later; an older one ignores the filter and lists the family whole), so the
    reader must check again. There is no filter by address on purpose: Linux inverts that comparison for IPv6.

    Equivalent: `conntrack -L -f ipv4 -p udp`, with a port `conntrack -L -f ipv4 -p udp --orig-port-dst 53`.
    """
    proto = [attribute(_PROTO_NUMBER, bytes([UDP]))]
    flags = _BY_PROTOCOL
    if port is not None:
        proto.append(attribute(_DESTINATION_PORT, _PORT.pack(port)))
        flags |= _BY_DESTINATION_PORT
    body = (
        nfnetlink.header(family)
        + nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, *proto))
        + nested(_FILTER, attribute(_FILTER_ORIG_FLAGS, _U32.pack(flags)))
    )
    return Request(f"list {family} conntrack entries", _GET, body, F_DUMP)


def unfiltered_dump_request(family: Family) -> Request:
    """Return the request for all entries of a family: for a kernel that refuses the filter.

    Equivalent: `conntrack -L -f ipv4`.
    """
    return Request(f"list {family} conntrack entries", _GET, nfnetlink.header(family), F_DUMP)


def read_flow(entry: bytes) -> Flow | None:
    """Decode the body of an `ENTRY` message; None when it is not UDP over IP. Raises `MalformedMessage`."""
    layout = _LAYOUTS.get(entry[0]) if entry else None
    if layout is not None and len(entry) >= layout[0].size:
        fields = layout[0].unpack_from(entry)
        if _headers(fields) == layout[1]:
            destination, protocol, port, reply_source, reply_port = _values(fields)
            return Flow(destination, port, reply_source, reply_port, entry) if protocol == UDP else None
    return read_flow_attributes(entry)


def read_flow_attributes(entry: bytes) -> Flow | None:
    """Do what `read_flow` does, by walking the attributes: whatever their order, about ten times slower."""
    family = nfnetlink.family_of(entry)
    if family is None:
        return None
    attributes = attribute_map(entry, nfnetlink.HEADER_LENGTH)
    original = _tuple(attributes, _TUPLE_ORIG)
    proto = attribute_map(_value(original, _TUPLE_PROTO, "CTA_TUPLE_PROTO"))
    if _value(proto, _PROTO_NUMBER, "CTA_PROTO_NUM", 1)[0] != UDP:
        return None
    reply = _tuple(attributes, _TUPLE_REPLY)
    reply_proto = attribute_map(_value(reply, _TUPLE_PROTO, "CTA_TUPLE_PROTO"))
    return Flow(
        _address(original, _SOURCE[family] + 1, family),
        _port(proto, _DESTINATION_PORT),
        _address(reply, _SOURCE[family], family),
        _port(reply_proto, _SOURCE_PORT),
        entry,
    )


def delete_request(flow: Flow) -> Request:
    """Return the request that deletes exactly this entry; ENOENT in answer means that it is gone already.

    It names the reply tuple, the zone and the id. The reply tuple says who answers, so that an entry which has taken
    the place since, to another endpoint, is not found; the id covers the original tuple (the kernel hashes it in). The
    id with the original tuple would not do: a new entry often gets the memory of the one just freed, and then its id.
    A request without tuple would flush the whole table, so `MalformedMessage` is raised where tuple or id is missing.

    Equivalent (there is no id in it)::

        conntrack -D -f ipv4 -p udp -r 10.1.0.5 -q 10.1.0.9 --reply-port-src 5353 --reply-port-dst 4711 -w ZONE
    """
    attributes = attribute_map(flow.entry, nfnetlink.HEADER_LENGTH)
    reply = _tuple(attributes, _TUPLE_REPLY)
    for kind in (_TUPLE_IP, _TUPLE_PROTO):
        _value(reply, kind, "address or protocol in CTA_TUPLE_REPLY")
    body = flow.entry[: nfnetlink.HEADER_LENGTH] + nested(_TUPLE_REPLY, attributes[_TUPLE_REPLY])
    if _ZONE in attributes:
        body += attribute(_ZONE, attributes[_ZONE])
    body += attribute(_ID, _value(attributes, _ID, "CTA_ID", 4))
    where = with_port(str(ipaddress.ip_address(flow.destination)), flow.destination_port)
    return Request(f"delete conntrack entry to {where}", _DELETE, body)


def _tuple(attributes: Mapping[int, bytes], kind: int) -> dict[int, bytes]:
    return attribute_map(_value(attributes, kind, "CTA_TUPLE_ORIG" if kind == _TUPLE_ORIG else "CTA_TUPLE_REPLY"))


def _address(tuple_: Mapping[int, bytes], kind: int, family: Family) -> bytes:
    ip = attribute_map(_value(tuple_, _TUPLE_IP, "CTA_TUPLE_IP"))
    return _value(ip, kind, f"address of family {family}", family.bits // 8)


def _port(proto: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(_value(proto, kind, "port", 2))


def _value(attributes: Mapping[int, bytes], kind: int, name: str, length: int | None = None) -> bytes:
    value = attributes.get(kind)
    if value is None:
        raise MalformedMessage(f"conntrack entry: no {name}")
    if length is not None and len(value) != length:
        raise MalformedMessage(f"conntrack entry: {name} of {len(value)} bytes, not {length}")
    return value


def _template(family: Family) -> bytes:
    """Return the start of an entry as the kernel lays it out, all values zero."""
    source, address = _SOURCE[family], bytes(family.bits // 8)
    two_tuples = [
        nested(
            kind,
            nested(_TUPLE_IP, attribute(source, address), attribute(source + 1, address)),
            nested(
                _TUPLE_PROTO,
                attribute(_PROTO_NUMBER, b"\0"),
                attribute(_SOURCE_PORT, b"\0\0"),
                attribute(_DESTINATION_PORT, b"\0\0"),
            ),
        )
        for kind in (_TUPLE_ORIG, _TUPLE_REPLY)
    ]
    return nfnetlink.header(family) + b"".join(two_tuples)


def _layout(family: Family) -> tuple[struct.Struct, tuple[bytes, ...]]:
    """Return the fixed layout of an entry's start, and what its attribute headers are."""
    size = family.bits // 8
    # Headers as bytes (12s: tuple, IP, source; 4s: destination; 8s: protocol, number; 4s: each port); x: passed over.
    original = f"12s {size}x 4s {size}s 8s B 3x 4s 4x 4s H 2x"
    reply = f"12s {size}s 4s {size}x 8s 4x 4s H 2x 4s 4x"
    layout = struct.Struct(f"!4x {original} {reply}")
    return layout, _headers(layout.unpack(_template(family)))


# Fields of that layout: the attribute headers; and destination, protocol, port, reply source, its port.
_headers = operator.itemgetter(0, 1, 3, 5, 6, 8, 10, 11, 12, 14)
_values = operator.itemgetter(2, 4, 7, 9, 13)
_LAYOUTS = {nfnetlink.header(family)[0]: _layout(family) for family in Family}
