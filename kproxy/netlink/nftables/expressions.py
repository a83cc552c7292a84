"""Expressions of rules: the kernel's attributes, both ways, from one table.

An expression is ``NFTA_LIST_ELEM { NFTA_EXPR_NAME, NFTA_EXPR_DATA { attributes } }``. What the kernel lists is not
byte for byte what it was given (it adds defaults and counts), so that rules are compared as values, after decoding.
"""

from __future__ import annotations

from kproxy.netlink.message import attribute_map, nested, split_attributes
from kproxy.netlink.nftables import wire
from kproxy.netlink.nftables.layouts import (
    DATA,
    MILLISECONDS,
    NAME,
    NUMBER,
    OPTIONAL_REGISTER,
    REGISTER,
    Codec,
    Derived,
    Field,
    Foreign,
    Layout,
    flag,
    optional,
    u32,
    words,
)
from kproxy.plan.nftables import expressions as x
from kproxy.state.addresses import Family

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


def _layouts(family: Family) -> tuple[Layout, ...]:
    into, source = Field("into", 1, REGISTER), "source"
    ct_keys = words(_CT_KEYS | _CT_ADDRESS_KEYS[family])
    reject_code = bytes([_PORT_UNREACHABLE[family]])
    return (
        # meta l4proto; meta mark set ...
        Layout("meta", x.Meta, (into, Field("key", 2, words(_META_KEYS)))),
        Layout("meta", x.SetMeta, (Field("key", 2, words(_META_KEYS)), Field(source, 3, REGISTER))),
        # ip daddr, th dport: @nh,128,32 and @th,16,16
        Layout(
            "payload",
            x.Payload,
            (
                into,
                Field("base", 2, words({"network": 1, "transport": 2})),
                Field("offset", 3, NUMBER),
                Field("length", 4, NUMBER),
            ),
        ),
        # ct state; ct original ip daddr
        Layout(
            "ct",
            x.Ct,
            (
                into,
                Field("key", 2, ct_keys),
                Field("direction", 3, optional(words({"original": 0, "reply": 1}, 1)), None),
            ),
        ),
        # == 0x4000, != 10.0.0.1
        Layout(
            "cmp",
            x.Cmp,
            (
                Field("register", 1, REGISTER),
                Field("operator", 2, words(_COMPARISONS)),
                Field("value", 3, DATA),
            ),
        ),
        # 1-100, != 1-100
        Layout(
            "range",
            x.Range,
            (
                Field("register", 1, REGISTER),
                Field("operator", 2, words({"==": 0, "!=": 1})),
                Field("low", 3, DATA),
                Field("high", 4, DATA),
            ),
        ),
        # & 0x4000, | 0x4000, ^ 0x4000
        Layout(
            "bitwise",
            x.Bitwise,
            (
                Field(source, 1, REGISTER),
                Field("into", 2, REGISTER),
                Field("mask", 4, DATA),
                Field("xor", 5, DATA),
            ),
            (Derived(3, lambda one: u32(len(one.mask))), Derived(6, lambda one: u32(0))),
        ),
        # the constant of `dnat to 10.0.0.1:80`
        Layout("immediate", x.Immediate, (into, Field("value", 2, DATA))),
        # @nodeport-ips, != @nodeport-ips, map @endpoints, vmap @services
        Layout(
            "lookup",
            x.Lookup,
            (
                Field("set", 1, NAME),
                Field("key", 2, REGISTER),
                Field("into", 3, OPTIONAL_REGISTER, None),
                Field("invert", 5, flag(1), False),
            ),
        ),
        # numgen random mod 3 offset 65536
        Layout(
            "numgen",
            x.Numgen,
            (
                into,
                Field("modulus", 2, NUMBER),
                Field("mode", 3, words({"inc": 0, "random": 1})),
                Field("offset", 4, NUMBER),
            ),
        ),
        # fib daddr type
        Layout(
            "fib",
            x.Fib,
            (into, Field("address", 3, words({"saddr": 1, "daddr": 2}))),
            (Derived(2, lambda one: u32(_ADDRESS_TYPE)),),
        ),
        # dnat to ...; a single address and port, not ranges
        Layout(
            "nat",
            x.Dnat,
            (Field("address", 3, REGISTER), Field("port", 5, OPTIONAL_REGISTER, None)),
            (
                Derived(1, lambda one: u32(_DNAT)),
                Derived(2, lambda one: u32(_NFPROTO[family])),
                Derived(4, lambda one: REGISTER.write(one.address)),
                Derived(6, lambda one: OPTIONAL_REGISTER.write(one.port)),
                Derived(7, lambda one: u32(_MAPS_ADDRESS | (_MAPS_PORT if one.port is not None else 0))),
            ),
        ),
        # masquerade, masquerade fully-random
        Layout("masq", x.Masquerade, (Field("fully_random", 1, flag(_FULLY_RANDOM), False),)),
        # reject, reject with tcp reset
        Layout(
            "reject",
            x.Reject,
            (Field("with_reset", 1, Codec(lambda on: u32(on), flag(1).read)),),
            (Derived(2, lambda one: None if one.with_reset else reject_code),),
        ),
        # update @affinity { ... timeout 3h : ... }
        Layout(
            "dynset",
            x.Dynset,
            (
                Field("set", 1, NAME),
                Field("operation", 3, words({"add": 0, "update": 1, "delete": 2})),
                Field("key", 4, REGISTER),
                Field("data", 5, OPTIONAL_REGISTER, None),
                Field("timeout_ms", 6, MILLISECONDS, 0),
            ),
            (Derived(9, lambda one: u32(0)),),
            frozenset({8}),
        ),
        Layout("counter", x.Counter, (), state=frozenset({1, 2, 3})),
        Layout("notrack", x.Notrack, ()),
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
    except Foreign:
        return None


def _write(expression: x.Expression, family: Family) -> bytes:
    if isinstance(expression, x.Verdict):
        name = "immediate"
        content = _REGISTER_ATTRIBUTE + nested(2, write_verdict(expression))
    else:
        layout = _BY_TYPE[family][type(expression)]
        name, content = layout.name, layout.write(expression)
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
    if name == "immediate" and attributes.get(1) == u32(0):
        verdict = read_verdict(attributes.get(2, b""))
        if verdict is None:
            raise Foreign
        return verdict
    fitting = [layout for layout in _LAYOUTS[family] if layout.name == name and layout.fits(attributes)]
    if not fitting:
        raise Foreign
    expression: x.Expression = fitting[0].read(attributes)
    return expression
