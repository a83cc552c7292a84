"""What all nf_tables messages share: message types, small attributes, registers."""

from __future__ import annotations

import struct

from kproxy.netlink import nfnetlink
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import attribute
from kproxy.plan.nftables.expressions import VERDICT, Register

_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")


def _type(operation: int) -> int:
    return nfnetlink.message_type(nfnetlink.NFTABLES, operation)


# NFT_MSG_*
NEW_TABLE, GET_TABLE, DELETE_TABLE = _type(0), _type(1), _type(2)
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = _type(3), _type(4), _type(5)
NEW_RULE, GET_RULE, DELETE_RULE = _type(6), _type(7), _type(8)
NEW_SET, GET_SET, DELETE_SET = _type(9), _type(10), _type(11)
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = _type(12), _type(13), _type(14)
NEW_GENERATION, GET_GENERATION = _type(15), _type(16)

# NFTA_LIST_ELEM, NFTA_DATA_*, NFTA_EXPR_*
LIST_ITEM = 1
DATA_VALUE, DATA_VERDICT = 1, 2
EXPRESSION_NAME, EXPRESSION_DATA = 1, 2


def u32(kind: int, value: int) -> bytes:
    """Return an attribute with a 32-bit number."""
    return attribute(kind, _U32.pack(value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    """Return an attribute with a 64-bit number."""
    return attribute(kind, _U64.pack(value))


def name(kind: int, text: str) -> bytes:
    """Return an attribute with a name."""
    return attribute(kind, text.encode() + b"\0")


def read_u32(value: bytes) -> int:
    """Read a 32-bit number. Raises `MalformedMessage`."""
    if len(value) != 4:
        raise MalformedMessage(f"nf_tables: number of {len(value)} bytes, not 4")
    return int.from_bytes(value)


def read_u64(value: bytes) -> int:
    """Read a 64-bit number. Raises `MalformedMessage`."""
    if len(value) != 8:
        raise MalformedMessage(f"nf_tables: number of {len(value)} bytes, not 8")
    return int.from_bytes(value)


def read_name(value: bytes) -> str:
    """Read a name, up to its zero byte."""
    return value.partition(b"\0")[0].decode(errors="replace")


def register_number(register: Register) -> int:
    """Return the kernel's number of a register: where a 128-bit one starts (NFT_REG_1 to 4) its own, as nft does."""
    if register == VERDICT:
        return 0
    if not 0 <= register < 16:
        raise ValueError(f"there is no register {register}")
    return 8 + register if register % 4 else 1 + register // 4


def register_of(number: int) -> Register:
    """Return the register for the kernel's number. Raises `MalformedMessage`."""
    if number == 0:
        return VERDICT
    if 1 <= number <= 4:
        return (number - 1) * 4
    if 8 <= number < 24:
        return number - 8
    raise MalformedMessage(f"nf_tables: register number {number}")
