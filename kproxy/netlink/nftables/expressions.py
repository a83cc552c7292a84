"""Expressions of rules: the kernel's attributes, both ways, from one table.

An expression is ``NFTA_LIST_ELEM { NFTA_EXPR_NAME, NFTA_EXPR_DATA { attributes } }``. What the kernel lists is not
byte for byte what it was given (it adds defaults and counts), so that rules are compared as values, after decoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kproxy.netlink.message import NESTED, attribute, attribute_map, nested, split_attributes
from kproxy.netlink.nftables import wire
from kproxy.plan.nftables import expressions as x
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# NFT_JUMP and so on (linux/netfilter/nf_tables.h), NF_ACCEPT and NF_DROP (linux/netfilter.h).
_VERDICT_CODES: dict[x.VerdictCode, int] = {
    "drop": 0,
    "accept": 1,
    "continue": -1,
    "jump": -3,
    "goto": -4,
    "return": -5,
}
_VERDICT_OF = {code & 0xFFFFFFFF: word for word, code in _VERDICT_CODES.items()}

_META_KEYS = {"mark": 3, "iif": 4, "oif": 5, "iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}
_CT_KEYS = {"state": 0, "direction": 1, "status": 2, "mark": 3, "protocol": 10, "proto-src": 11, "proto-dst": 12}
_CT_ADDRESS_KEYS = {Family.IPV4: {"saddr": 19, "daddr": 20}, Family.IPV6: {"saddr": 21, "daddr": 22}}
_COMPARISONS = {"==": 0, "!=": 1, "<": 2, "<=": 3, ">": 4, ">=": 5}
_NFPROTO = {Family.IPV4: 2, Family.IPV6: 10}
_PORT_UNREACHABLE = {Family.IPV4: 3, Family.IPV6: 4}  # codes of ICMP and of ICMPv6
_ADDRESS_TYPE = 3  # NFT_FIB_RESULT_ADDRTYPE
_FULLY_RANDOM = 1 << 4  # NF_NAT_RANGE_PROTO_RANDOM_FULLY
_DNAT = 1
_MAPS_ADDRESS, _MAPS_PORT = 1, 2  # NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED


class _Foreign(Exception):
    """An expression, or a property of one, that kproxy never writes."""


class _Codec(NamedTuple):
    """How a field is written as the value of an attribute, and read. Writing None leaves the attribute out."""

    write: Callable[[Any], bytes | None]
    read: Callable[[bytes], Any]
    mark: int = 0
    """NESTED where the value is an attribute itself."""


_NEEDED = object()


class _Field(NamedTuple):
    name: str
    kind: int
    codec: _Codec
    absent: Any = _NEEDED
    """The value when the attribute is not there."""


class _Derived(NamedTuple):
    """An attribute that follows from the others; when read it must say just that, or be absent."""

    kind: int
    write: Callable[[Any], bytes | None]


class _Layout(NamedTuple):
    """One type of expression: its name in the kernel, its fields, what follows from them, and its state."""

    name: str
    type: type[Any]
    fields: tuple[_Field, ...]
    derived: tuple[_Derived, ...] = ()
    state: frozenset[int] = frozenset()
    """Attributes that change by themselves, and padding that some architectures need: passed over."""


def _u32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4)


def _words(words: Mapping[str, int], length: int = 4) -> _Codec:
    """Return the codec of a word that is a number to the kernel."""
    back = {number.to_bytes(length): word for word, number in words.items()}

    def read(value: bytes) -> str:
        if value not in back:
            raise _Foreign
        return back[value]

    return _Codec(lambda word: words[word].to_bytes(length), read)


def _optional(codec: _Codec) -> _Codec:
    return _Codec(lambda value: None if value is None else codec.write(value), codec.read)


def _flag(bit: int) -> _Codec:
    def read(value: bytes) -> bool:
        if wire.read_u32(value) & ~bit:
            raise _Foreign
        return bool(wire.read_u32(value))

    return _Codec(lambda on: _u32(bit) if on else None, read)


def _read_data(value: bytes) -> bytes:
    data = attribute_map(value)
    if data.keys() != {wire.DATA_VALUE}:
        raise _Foreign
    return data[wire.DATA_VALUE]


_REGISTER = _Codec(
    lambda register: _u32(wire.register_number(register)),
    lambda value: wire.register_of(wire.read_u32(value)),
)
_OPTIONAL_REGISTER = _optional(_REGISTER)
_NUMBER = _Codec(_u32, wire.read_u32)
_NAME = _Codec(lambda text: text.encode() + b"\0", wire.read_name)
_DATA = _Codec(lambda value: attribute(wire.DATA_VALUE, value), _read_data, NESTED)
_MILLISECONDS = _Codec(lambda value: value.to_bytes(8) if value else None, wire.read_u64)


def write_verdict(verdict: x.Verdict) -> bytes:
    """Return how a verdict stands in a rule and in a map: ``NFTA_DATA_VERDICT { code, chain }``."""
    code = wire.u32(1, _VERDICT_CODES[verdict.code])
    chain = wire.name(2, verdict.chain) if verdict.chain else b""
    return nested(wire.DATA_VERDICT, code, chain)


def read_verdict(data: bytes) -> x.Verdict | None:
    """Read what `write_verdict` returns; None when it is no verdict of ours. Raises `MalformedMessage`."""
    parts = attribute_map(attribute_map(data).get(wire.DATA_VERDICT, b""))
    word = _VERDICT_OF.get(wire.read_u32(parts[1])) if 1 in parts else None
    return None if word is None else x.Verdict(word, wire.read_name(parts.get(2, b"")))


def _layouts(family: Family) -> tuple[_Layout, ...]:
    into, source = _Field("into", 1, _REGISTER), "source"
    ct_keys = _words(_CT_KEYS | _CT_ADDRESS_KEYS[family])
    reject_code = bytes([_PORT_UNREACHABLE[family]])
    return (
        # meta l4proto; meta mark set ...
        _Layout("meta", x.Meta, (into, _Field("key", 2, _words(_META_KEYS)))),
        _Layout("meta", x.SetMeta, (_Field("key", 2, _words(_META_KEYS)), _Field(source, 3, _REGISTER))),
        # ip daddr, th dport: @nh,128,32 and @th,16,16
        _Layout(
            "payload",
            x.Payload,
            (
                into,
                _Field("base", 2, _words({"network": 1, "transport": 2})),
                _Field("offset", 3, _NUMBER),
                _Field("length", 4, _NUMBER),
            ),
        ),
        # ct state; ct original ip daddr
        _Layout(
            "ct",
            x.Ct,
            (
                into,
                _Field("key", 2, ct_keys),
                _Field("direction", 3, _optional(_words({"original": 0, "reply": 1}, 1)), None),
            ),
        ),
        # == 0x4000, != 10.0.0.1
        _Layout(
            "cmp",
            x.Cmp,
            (
                _Field("register", 1, _REGISTER),
                _Field("operator", 2, _words(_COMPARISONS)),
                _Field("value", 3, _DATA),
            ),
        ),
        # 1-100, != 1-100
        _Layout(
            "range",
            x.Range,
            (
                _Field("register", 1, _REGISTER),
                _Field("operator", 2, _words({"==": 0, "!=": 1})),
                _Field("low", 3, _DATA),
                _Field("high", 4, _DATA),
            ),
        ),
        # & 0x4000, | 0x4000, ^ 0x4000
        _Layout(
            "bitwise",
            x.Bitwise,
            (
                _Field(source, 1, _REGISTER),
                _Field("into", 2, _REGISTER),
                _Field("mask", 4, _DATA),
                _Field("xor", 5, _DATA),
            ),
            (_Derived(3, lambda one: _u32(len(one.mask))), _Derived(6, lambda one: _u32(0))),
        ),
        # the constant of `dnat to 10.0.0.1:80`
        _Layout("immediate", x.Immediate, (into, _Field("value", 2, _DATA))),
        # @nodeport-ips, != @nodeport-ips, map @endpoints, vmap @services
        _Layout(
            "lookup",
            x.Lookup,
            (
                _Field("set", 1, _NAME),
                _Field("key", 2, _REGISTER),
                _Field("into", 3, _OPTIONAL_REGISTER, None),
                _Field("invert", 5, _flag(1), False),
            ),
        ),
        # numgen random mod 3 offset 65536
        _Layout(
            "numgen",
            x.Numgen,
            (
                into,
                _Field("modulus", 2, _NUMBER),
                _Field("mode", 3, _words({"inc": 0, "random": 1})),
                _Field("offset", 4, _NUMBER),
            ),
        ),
        # fib daddr type
        _Layout(
            "fib",
            x.Fib,
            (into, _Field("address", 3, _words({"saddr": 1, "daddr": 2}))),
            (_Derived(2, lambda one: _u32(_ADDRESS_TYPE)),),
        ),
        # dnat to ...; a single address and port, not ranges
        _Layout(
            "nat",
            x.Dnat,
            (_Field("address", 3, _REGISTER), _Field("port", 5, _OPTIONAL_REGISTER, None)),
            (
                _Derived(1, lambda one: _u32(_DNAT)),
                _Derived(2, lambda one: _u32(_NFPROTO[family])),
                _Derived(4, lambda one: _REGISTER.write(one.address)),
                _Derived(6, lambda one: _OPTIONAL_REGISTER.write(one.port)),
                _Derived(7, lambda one: _u32(_MAPS_ADDRESS | (_MAPS_PORT if one.port is not None else 0))),
            ),
        ),
        # masquerade, masquerade fully-random
        _Layout("masq", x.Masquerade, (_Field("fully_random", 1, _flag(_FULLY_RANDOM), False),)),
        # reject, reject with tcp reset
        _Layout(
            "reject",
            x.Reject,
            (_Field("with_reset", 1, _Codec(lambda on: _u32(on), _flag(1).read)),),
            (_Derived(2, lambda one: None if one.with_reset else reject_code),),
        ),
        # update @affinity { ... timeout 3h : ... }
        _Layout(
            "dynset",
            x.Dynset,
            (
                _Field("set", 1, _NAME),
                _Field("operation", 3, _words({"add": 0, "update": 1, "delete": 2})),
                _Field("key", 4, _REGISTER),
                _Field("data", 5, _OPTIONAL_REGISTER, None),
                _Field("timeout_ms", 6, _MILLISECONDS, 0),
            ),
            (_Derived(9, lambda one: _u32(0)),),
            frozenset({8}),
        ),
        _Layout("counter", x.Counter, (), state=frozenset({1, 2, 3})),
        _Layout("notrack", x.Notrack, ()),
    )


_LAYOUTS = {family: _layouts(family) for family in Family}
_BY_TYPE = {family: {layout.type: layout for layout in layouts} for family, layouts in _LAYOUTS.items()}


def write_expressions(expressions: tuple[x.Expression, ...], family: Family) -> bytes:
    """Return the content of an NFTA_RULE_EXPRESSIONS attribute."""
    return b"".join(_write(expression, family) for expression in expressions)


def read_expressions(data: bytes, family: Family) -> tuple[x.Expression, ...] | None:
    """Read what the kernel lists; None: something in it is not of kproxy's making. Raises `MalformedMessage`."""
    try:
        return tuple(_read(value, family) for _, value in split_attributes(data))
    except _Foreign:
        return None


def _write(expression: x.Expression, family: Family) -> bytes:
    if isinstance(expression, x.Verdict):
        name = "immediate"
        content = _REGISTER_ATTRIBUTE + nested(2, write_verdict(expression))
    else:
        layout = _BY_TYPE[family][type(expression)]
        name = layout.name
        values = [
            (field.kind | field.codec.mark, field.codec.write(getattr(expression, field.name)))
            for field in layout.fields
        ]
        values += [(derived.kind, derived.write(expression)) for derived in layout.derived]
        content = b"".join(attribute(kind, value) for kind, value in values if value is not None)
    return nested(
        wire.LIST_ITEM,
        wire.name(wire.EXPRESSION_NAME, name),
        nested(wire.EXPRESSION_DATA, content),
    )


_REGISTER_ATTRIBUTE = wire.u32(1, 0)  # the verdict register


def _read(item: bytes, family: Family) -> x.Expression:
    parts = attribute_map(item)
    name = wire.read_name(parts.get(wire.EXPRESSION_NAME, b""))
    attributes = attribute_map(parts.get(wire.EXPRESSION_DATA, b""))
    if name == "immediate" and attributes.get(1) == _u32(0):
        verdict = read_verdict(attributes.get(2, b""))
        if verdict is None:
            raise _Foreign
        return verdict
    fitting = [layout for layout in _LAYOUTS[family] if layout.name == name and _fits(layout, attributes)]
    if not fitting:
        raise _Foreign
    return _read_fields(fitting[0], attributes)


def _fits(layout: _Layout, attributes: Mapping[int, bytes]) -> bool:
    """Tell whether these are all attributes that the layout knows, and all that it needs."""
    needed = {field.kind for field in layout.fields if field.absent is _NEEDED}
    known = {field.kind for field in layout.fields} | {derived.kind for derived in layout.derived} | layout.state
    return needed <= attributes.keys() <= known


def _read_fields(layout: _Layout, attributes: Mapping[int, bytes]) -> x.Expression:
    values = {
        field.name: field.codec.read(attributes[field.kind]) if field.kind in attributes else field.absent
        for field in layout.fields
    }
    expression: x.Expression = layout.type(**values)
    for derived in layout.derived:
        if derived.kind in attributes and attributes[derived.kind] != derived.write(expression):
            raise _Foreign
    return expression
