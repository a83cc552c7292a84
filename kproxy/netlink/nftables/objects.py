"""Tables, chains, rules and sets: the attributes of the messages that make, delete and list them.

Everything here is the body of a message after its `nfgenmsg`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import attribute, attribute_map, nested
from kproxy.netlink.nftables import userdata, wire
from kproxy.netlink.nftables.expressions import read_expressions, write_expressions
from kproxy.plan.nftables.model import NOT_UNDERSTOOD, VERDICTS, Chain, Hook, Rule, SetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kproxy.plan.nftables.model import Field, Verdicts
    from kproxy.state.addresses import Family

# NFTA_TABLE_*, NFTA_CHAIN_*, NFTA_RULE_*, NFTA_SET_*
TABLE_NAME, _TABLE_USERDATA = 1, 6
CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE, _CHAIN_USERDATA = 3, 4, 5, 7, 12
RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 2, 4, 7
SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LENGTH, _SET_DATA_TYPE, _SET_DATA_LENGTH = 2, 3, 4, 5, 6, 7
_SET_DESCRIPTION, _SET_ID, _SET_TIMEOUT, _SET_USERDATA, _SET_EXPRESSION = 9, 10, 11, 13, 17
_DESCRIPTION_SIZE, _DESCRIPTION_CONCATENATION, _DESCRIPTION_FIELD_LENGTH = 1, 2, 1

_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")  # by number (enum nf_inet_hooks)
_ACCEPT = 1
_INTERVAL, _MAP, _TIMEOUT, _EVAL, _CONCATENATION = 0x04, 0x08, 0x10, 0x20, 0x80
_KNOWN_FLAGS = _INTERVAL | _MAP | _TIMEOUT | _EVAL | _CONCATENATION
_VERDICT_TYPE, _VERDICT_LENGTH = 0xFFFFFF00, 16
_BITS_PER_TYPE = 6


def table_body(name: str, comment: str = "") -> bytes:
    """Name a table: to make it, with a comment; to delete it; to list what is in it."""
    body = wire.name(TABLE_NAME, name)
    return body + attribute(_TABLE_USERDATA, userdata.comment(comment)) if comment else body


def read_table(attributes: bytes) -> tuple[str, str]:
    """Return name and comment of a listed table. Raises `MalformedMessage`."""
    found = attribute_map(attributes)
    return _name(found, TABLE_NAME), userdata.read_comment(found.get(_TABLE_USERDATA, b""))


def chain_body(table: str, chain: Chain) -> bytes:
    """Describe a chain, without its rules: `add chain`."""
    body = chain_name_body(table, chain.name)
    if chain.hook is not None:
        number = _HOOKS.index(chain.hook.hook)
        body += nested(_CHAIN_HOOK, wire.u32(1, number), wire.u32(2, chain.hook.priority))
        body += wire.u32(_CHAIN_POLICY, _ACCEPT) + wire.name(_CHAIN_TYPE, chain.hook.type)
    return body + attribute(_CHAIN_USERDATA, userdata.comment(chain.comment)) if chain.comment else body


def chain_name_body(table: str, name: str) -> bytes:
    """Name a chain, to delete it."""
    return wire.name(TABLE_NAME, table) + wire.name(CHAIN_NAME, name)


def read_chain(attributes: bytes) -> Chain:
    """Return a listed chain without its rules. Raises `MalformedMessage`.

    A base chain that is unlike what kproxy makes (its policy, a device) has a hook that equals none of kproxy's.
    """
    found = attribute_map(attributes)
    comment = userdata.read_comment(found.get(_CHAIN_USERDATA, b""))
    return Chain(_name(found, CHAIN_NAME), (), _read_hook(found), comment)


def _read_hook(found: Mapping[int, bytes]) -> Hook | None:
    if _CHAIN_HOOK not in found:
        return None
    hook = attribute_map(found[_CHAIN_HOOK])
    number, priority = wire.read_u32(hook.get(1, b"")), wire.read_u32(hook.get(2, b""))
    kind = wire.read_name(found.get(_CHAIN_TYPE, b""))
    accepts = wire.read_u32(found.get(_CHAIN_POLICY, b"")) == _ACCEPT
    known = number < len(_HOOKS) and kind in ("filter", "nat", "route") and accepts
    signed = priority - (1 << 32) if priority & 1 << 31 else priority
    if not known:
        return Hook("filter", "input", 1 << 31)  # a priority that does not exist
    return Hook(kind, _HOOKS[number], signed)  # type: ignore[arg-type]


def rule_body(table: str, chain: str, rule: Rule, family: Family) -> bytes:
    """Describe a rule: `add rule`."""
    body = rules_of_chain_body(table, chain) + nested(_RULE_EXPRESSIONS, write_expressions(rule.expressions, family))
    return body + attribute(_RULE_USERDATA, userdata.comment(rule.comment)) if rule.comment else body


def rules_of_chain_body(table: str, chain: str) -> bytes:
    """Name all rules of a chain: `flush chain`."""
    return wire.name(TABLE_NAME, table) + wire.name(RULE_CHAIN, chain)


def read_rule(attributes: bytes, family: Family) -> tuple[str, Rule]:
    """Return chain and rule, `NOT_UNDERSTOOD` where it is none that kproxy could have written.

    Raises `MalformedMessage`.
    """
    found = attribute_map(attributes)
    expressions = read_expressions(found.get(_RULE_EXPRESSIONS, b""), family)
    comment = userdata.read_comment(found.get(_RULE_USERDATA, b""))
    rule = NOT_UNDERSTOOD if expressions is None else Rule(expressions, comment)
    return _name(found, RULE_CHAIN), rule


def set_body(table: str, spec: SetSpec, number: int) -> bytes:
    """Describe a set or map: `add set`. `number` is its own within the transaction."""
    body = set_name_body(table, spec.name)
    body += wire.u32(_SET_FLAGS, _flags(spec))
    body += wire.u32(_SET_KEY_TYPE, _type_number(spec.key)) + wire.u32(_SET_KEY_LENGTH, spec.key_length)
    if spec.data == VERDICTS:
        body += wire.u32(_SET_DATA_TYPE, _VERDICT_TYPE) + wire.u32(_SET_DATA_LENGTH, _VERDICT_LENGTH)
    elif spec.data is not None:
        body += wire.u32(_SET_DATA_TYPE, _type_number(spec.data)) + wire.u32(_SET_DATA_LENGTH, spec.data_length)
    body += wire.u32(_SET_ID, number)
    if spec.timeout_ms:
        body += wire.u64(_SET_TIMEOUT, spec.timeout_ms)
    if spec.interval:
        lengths = [nested(wire.LIST_ITEM, wire.u32(_DESCRIPTION_FIELD_LENGTH, field.type.width)) for field in spec.key]
        body += nested(_SET_DESCRIPTION, nested(_DESCRIPTION_CONCATENATION, *lengths))
    elif spec.size is not None:
        body += nested(_SET_DESCRIPTION, wire.u32(_DESCRIPTION_SIZE, spec.size))
    body += attribute(_SET_USERDATA, userdata.set_userdata(spec))
    if spec.counter:
        counter = wire.name(wire.EXPRESSION_NAME, "counter")
        body += nested(_SET_EXPRESSION, counter, nested(wire.EXPRESSION_DATA))
    return body


def set_name_body(table: str, name: str) -> bytes:
    """Name a set: to delete it, to list it."""
    return wire.name(TABLE_NAME, table) + wire.name(SET_NAME, name)


def read_set(attributes: bytes) -> SetSpec:
    """Return a listed set. One that is unlike any that kproxy makes has no key fields. Raises `MalformedMessage`."""
    found = attribute_map(attributes)
    name = _name(found, SET_NAME)
    flags = wire.read_u32(found[_SET_FLAGS]) if _SET_FLAGS in found else 0
    stored = found.get(_SET_USERDATA, b"")
    spec = SetSpec(
        name,
        userdata.read_fields(stored, data=False),
        _read_data(found, flags, stored),
        interval=bool(flags & _INTERVAL),
        dynamic=bool(flags & _EVAL),
        timeout_ms=wire.read_u64(found.get(_SET_TIMEOUT, bytes(8))) if flags & _TIMEOUT else None,
        counter=_counts(found),
        size=_read_size(found),
        comment=userdata.read_comment(stored, userdata.SET_COMMENT),
    )
    return spec if _consistent(spec, found, flags) else SetSpec(name, ())


def _read_data(found: Mapping[int, bytes], flags: int, stored: bytes) -> tuple[Field, ...] | Verdicts | None:
    if not flags & _MAP:
        return None
    is_verdict = wire.read_u32(found.get(_SET_DATA_TYPE, b"")) == _VERDICT_TYPE
    return VERDICTS if is_verdict else userdata.read_fields(stored, data=True)


def _read_size(found: Mapping[int, bytes]) -> int | None:
    size = attribute_map(found.get(_SET_DESCRIPTION, b"")).get(_DESCRIPTION_SIZE)
    return None if size is None else wire.read_u32(size)


def _counts(found: Mapping[int, bytes]) -> bool:
    expression = attribute_map(found.get(_SET_EXPRESSION, b"")).get(wire.EXPRESSION_NAME, b"")
    return wire.read_name(expression) == "counter"


def _consistent(spec: SetSpec, found: Mapping[int, bytes], flags: int) -> bool:
    """Tell whether the kernel's own view is what the userdata say: anybody can write userdata."""
    if not spec.key or spec.data == () or flags & ~_KNOWN_FLAGS or flags != _flags(spec):
        return False
    lengths = [(_SET_KEY_LENGTH, spec.key_length), (_SET_DATA_LENGTH, spec.data_length)]
    return all(wire.read_u32(found[kind]) == length for kind, length in lengths if kind in found and length)


def _flags(spec: SetSpec) -> int:
    return (
        (_MAP if spec.data is not None else 0)
        | (_INTERVAL | _CONCATENATION if spec.interval else 0)
        | (_EVAL if spec.dynamic else 0)
        | (_TIMEOUT if spec.timeout_ms is not None else 0)
    )


def _type_number(fields: tuple[Field, ...]) -> int:
    """Return nft's number of a type; of a concatenation six bits per field, the last one lowest (TYPE_BITS)."""
    number = 0
    for field in fields:
        number = number << _BITS_PER_TYPE | field.type.number
    return number & 0xFFFFFFFF


def _name(found: Mapping[int, bytes], kind: int) -> str:
    if kind not in found:
        raise MalformedMessage("nf_tables: an object without a name")
    return wire.read_name(found[kind])
