"""Userdata: what the kernel keeps with an object and does not look into. Comments, and what a set's fields are.

Type, length, value, one byte each for the first two; the numbers are libnftnl's (include/libnftnl/udata.h) and nft's.
Without `typeof`, `nft list` could not show a key with a `numgen` in it at all, and would show numbers for names.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kproxy.netlink.errors import MalformedMessage
from kproxy.plan.nftables.model import (
    FIELDS,
    IP6_DADDR,
    IP6_SADDR,
    IP_DADDR,
    IP_SADDR,
    L4PROTO,
    MARK,
    SLOT,
    TH_DPORT,
    TH_SPORT,
    VERDICTS,
    Field,
    SetSpec,
    comment_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMENT = 0
"""Type of the comment of a table, chain, rule or element."""
SET_COMMENT = 7

_KEY_BYTE_ORDER, _DATA_BYTE_ORDER, _KEY_TYPEOF, _DATA_TYPEOF, _DATA_INTERVAL = 0, 1, 3, 4, 6
_EXPRESSION, _PROPERTIES = 0, 1
# nft's expression types (enum expr_types).
_VERDICT, _PAYLOAD, _META, _CONCATENATION, _NUMGEN = 1, 7, 9, 13, 23
_HOST_ENDIAN, _BIG_ENDIAN = 1, 2


_number = struct.Struct("=I").pack  # the only numbers in nf_tables in the host's byte order


def _tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind, len(value)]) + value


def _typeof(expression: int, *properties: int) -> bytes:
    """Return what describes one field: an expression type and its numbered properties."""
    values = b"".join(_tlv(kind, _number(value)) for kind, value in enumerate(properties))
    return _tlv(_EXPRESSION, _number(expression)) + _tlv(_PROPERTIES, values)


# Properties: of a payload nft's number of the protocol (11 th, 12 ip, 13 ip6) and of the field in it; of meta the key;
# of numgen mode, modulus and offset.
_TYPEOF: dict[Field, bytes] = {
    IP_SADDR: _typeof(_PAYLOAD, 12, 11),
    IP_DADDR: _typeof(_PAYLOAD, 12, 12),
    IP6_SADDR: _typeof(_PAYLOAD, 13, 8),
    IP6_DADDR: _typeof(_PAYLOAD, 13, 9),
    TH_SPORT: _typeof(_PAYLOAD, 11, 1),
    TH_DPORT: _typeof(_PAYLOAD, 11, 2),
    L4PROTO: _typeof(_META, 16),
    MARK: _typeof(_META, 3),
    SLOT: _typeof(_NUMGEN, 1, 2, 0),
}
_FIELD_OF = {_TYPEOF[field]: field for field in FIELDS}
_HOST_ORDER = (L4PROTO, MARK, SLOT)


def comment(text: str, kind: int = COMMENT) -> bytes:
    """Return the userdata of an object that has a comment and nothing else; b"" for no comment."""
    return _tlv(kind, comment_bytes(text) + b"\0") if text else b""


def read_comment(userdata: bytes, kind: int = COMMENT) -> str:
    """Return the comment, "" when there is none. Raises `MalformedMessage`."""
    return dict(_split(userdata)).get(kind, b"").partition(b"\0")[0].decode(errors="replace")


def set_userdata(spec: SetSpec) -> bytes:
    """Return the userdata of a set or map: byte orders, what its fields are, its comment."""
    parts = [_tlv(_KEY_BYTE_ORDER, _number(_byte_order(spec.key)))]
    if spec.data is not None:
        parts.append(_tlv(_DATA_BYTE_ORDER, _number(_byte_order(spec.data) if spec.data != VERDICTS else 0)))
    parts.append(_tlv(_KEY_TYPEOF, _typeof_fields(spec.key)))
    if spec.data is not None:
        data = _typeof(_VERDICT) if spec.data == VERDICTS else _typeof_fields(spec.data)
        parts += [_tlv(_DATA_TYPEOF, data), _tlv(_DATA_INTERVAL, _number(0))]
    return b"".join(parts) + comment(spec.comment, SET_COMMENT)


def read_fields(userdata: bytes, *, data: bool) -> tuple[Field, ...]:
    """Return the fields of a set's key, or of its data. () when one is none of ours. Raises `MalformedMessage`."""
    typeof = dict(_split(userdata)).get(_DATA_TYPEOF if data else _KEY_TYPEOF, b"")
    if typeof in _FIELD_OF:
        return (_FIELD_OF[typeof],)
    parts = dict(_split(typeof))
    if parts.get(_EXPRESSION) != _number(_CONCATENATION):
        return ()
    fields = [_FIELD_OF.get(part) for _, part in _split(parts.get(_PROPERTIES, b""))]
    known = tuple(field for field in fields if field is not None)
    return known if len(known) == len(fields) else ()


def _typeof_fields(fields: tuple[Field, ...]) -> bytes:
    if len(fields) == 1:
        return _TYPEOF[fields[0]]
    parts = b"".join(_tlv(index, _TYPEOF[field]) for index, field in enumerate(fields))
    return _tlv(_EXPRESSION, _number(_CONCATENATION)) + _tlv(_PROPERTIES, parts)


def _byte_order(fields: tuple[Field, ...]) -> int:
    if len(fields) > 1:
        return 0  # each field has its own
    return _HOST_ENDIAN if fields[0] in _HOST_ORDER else _BIG_ENDIAN


def _split(userdata: bytes) -> Iterator[tuple[int, bytes]]:
    offset, end = 0, len(userdata)
    while offset < end:
        if end - offset < 2 or end - offset - 2 < userdata[offset + 1]:
            raise MalformedMessage("nf_tables: userdata that ends in the middle of an attribute")
        length = userdata[offset + 1]
        yield userdata[offset], userdata[offset + 2 : offset + 2 + length]
        offset += 2 + length
