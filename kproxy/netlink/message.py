"""Netlink messages and attributes: bytes in, values out, and back.

Layouts: RFC 3549 and the kernel's include/uapi/linux/netlink.h. Headers are in host byte order; what an attribute
holds is up to its protocol (netfilter: big endian). Everything is aligned to 4 bytes.

Reading trusts nothing: a length that is too short or points past the end raises `MalformedMessage`, and nothing else
is ever raised, whatever the bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink.errors import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

# Message types below 16 are netlink's own.
NOOP = 1
ERROR = 2
DONE = 3
OVERRUN = 4

# Flags of a request.
F_REQUEST = 0x001
F_ACK = 0x004
F_DUMP = 0x300
F_REPLACE = 0x100
F_EXCL = 0x200
F_CREATE = 0x400
F_APPEND = 0x800
# Flags of an answer.
F_MULTI = 0x002
F_DUMP_INTR = 0x010
F_CAPPED = 0x100
F_ACK_TLVS = 0x200

NESTED = 0x8000
_KIND_MASK = 0x3FFF  # the two upper bits are NLA_F_NESTED and NLA_F_NET_BYTEORDER
_ERROR_TEXT = 1  # NLMSGERR_ATTR_MSG

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_LENGTH = struct.Struct("=I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # indexed by length modulo 4


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as received, without its header; `body` has no padding.

    A Struct and not a dataclass because a dump makes tens of thousands of them. `port` is in an answer that of the
    socket which asked, in a notification that of the socket which caused it.
    """

    type: int
    flags: int
    sequence: int
    body: bytes
    port: int = 0


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The end of an exchange (NLMSG_ERROR or NLMSG_DONE).

    `code` is 0 or a positive errno, `detail` the kernel's explanation where it gave one, else "".
    """

    sequence: int
    code: int
    detail: str


def pack_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a message with its header, padded so that another can follow it."""
    length = 16 + len(body)
    return _HEADER.pack(length, kind, flags, sequence, 0) + body + _PADDING[length & 3]


def split_messages(datagram: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram, in order. Raises `MalformedMessage`."""
    offset, end = 0, len(datagram)
    while offset < end:
        if end - offset < 16:
            raise MalformedMessage(f"netlink: {end - offset} bytes left over where a message header must be")
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, offset)
        if not 16 <= length <= end - offset:
            raise MalformedMessage(f"netlink: message of length {length} in the last {end - offset} bytes")
        yield Message(kind, flags, sequence, datagram[offset + 16 : offset + length], port)
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute (nlattr), padded. Raises ValueError when the value is longer than the format allows."""
    length = 4 + len(value)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind & _KIND_MASK}: {len(value)} bytes do not fit in 65531")
    return _ATTRIBUTE.pack(length, kind) + value + _PADDING[length & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes, marked as such (newer kernel parsers insist on the mark)."""
    return attribute(kind | NESTED, b"".join(attributes))


def split_attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, value) of each attribute in `data[start:]`; flags are taken off the kind.

    Raises `MalformedMessage`. The padding of the last attribute may be missing.
    """
    offset, end = start, len(data)
    while offset < end:
        if end - offset < 4:
            raise MalformedMessage(f"netlink: {end - offset} bytes left over where an attribute must be")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not 4 <= length <= end - offset:
            raise MalformedMessage(f"netlink: attribute of length {length} in the last {end - offset} bytes")
        yield kind & _KIND_MASK, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute_map(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Return the attributes of `data[start:]` by kind; of several of one kind the last, as the kernel does.

    Raises `MalformedMessage`.
    """
    return dict(split_attributes(data, start))


def read_ack(message: Message) -> Ack:
    """Decode an ERROR or DONE message. Raises `MalformedMessage`."""
    body = message.body
    if message.type == DONE and len(body) < 4:
        return Ack(message.sequence, 0, "")  # kernels of old send a bare DONE
    if len(body) < 4:
        raise MalformedMessage(f"netlink: error message with only {len(body)} bytes")
    (negative,) = _ERRNO.unpack_from(body)
    if negative > 0:
        raise MalformedMessage(f"netlink: error message with the positive code {negative}")
    detail = ""
    if message.flags & F_ACK_TLVS:
        detail = _error_text(body, 4 if message.type == DONE else _after_request(message))
    return Ack(message.sequence, -negative, detail)


def _after_request(message: Message) -> int:
    """Return where the attributes of an ERROR message start: after the request (or its header) that it quotes."""
    body = message.body
    if len(body) < 20:
        raise MalformedMessage("netlink: error message that does not quote the request's header")
    if message.flags & F_CAPPED:
        return 20
    (quoted,) = _LENGTH.unpack_from(body, 4)
    if not 16 <= quoted <= len(body) - 4:
        raise MalformedMessage(f"netlink: error message quotes a request of length {quoted}")
    return 4 + ((int(quoted) + 3) & ~3)


def _error_text(body: bytes, start: int) -> str:
    text = attribute_map(body, start).get(_ERROR_TEXT, b"").rstrip(b"\0").decode(errors="replace")
    # It ends up in a line for the user.
    return "".join(character if character.isprintable() else "?" for character in text)
