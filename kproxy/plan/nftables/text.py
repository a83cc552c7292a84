"""A table in nft's own language, as `nft -f` reads it: what `kproxy render` prints and the rule book shows.

It is made from the same expressions that go to the kernel, so it can't say anything else than they do.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from kproxy.plan.nftables.expressions import Dynset
from kproxy.plan.nftables.model import IP6_DADDR, IP6_SADDR, IP_DADDR, IP_SADDR, L4PROTO, SLOT, VERDICTS, Field
from kproxy.plan.nftables.packing import PROTOCOL_NUMBERS, unpack_slot, unpack_word
from kproxy.plan.nftables.rule_text import render_rule
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from kproxy.plan.nftables.model import Chain, SetSpec, Table

ADDRESS_FIELDS = (IP_SADDR, IP_DADDR, IP6_SADDR, IP6_DADDR)
_PROTOCOLS = {number: name.lower() for name, number in PROTOCOL_NUMBERS.items()}


def render_table(table: Table, elements: Mapping[str, Mapping[bytes, bytes]]) -> str:
    """Return the whole table as one `table` block; `elements` by set."""
    return "\n".join(_table(table, elements)) + "\n"


def render_additions(table: Table, fixed: Container[str], elements: Mapping[str, Mapping[bytes, bytes]]) -> str:
    """Return what comes to a table that has its sets and the `fixed` chains already, as `nft -f` adds it."""
    family = "ip" if table.family is Family.IPV4 else "ip6"
    specs = {spec.name: spec for spec in table.sets}
    chains = [chain for chain in table.chains if chain.name not in fixed]
    lines = [f"table {family} {table.name} {{"] if chains else []
    for chain in chains:
        lines += [*_indent(render_chain(chain, table.family, specs)), ""]
    if chains:
        lines[-1] = "}"
    for spec in table.sets:
        held = elements.get(spec.name, {})
        if held:
            lines += [*([""] if lines else []), f"add element {family} {table.name} {spec.name} {{"]
            lines += [f"\t{render_element(spec, key, held[key])}," for key in _in_order(spec, held)]
            lines.append("}")
    return "\n".join(lines) + "\n"


def _table(table: Table, elements: Mapping[str, Mapping[bytes, bytes]]) -> Iterator[str]:
    family = "ip" if table.family is Family.IPV4 else "ip6"
    yield f"table {family} {table.name} {{"
    if table.comment:
        yield f'\tcomment "{table.comment}"'
    specs = {spec.name: spec for spec in table.sets}
    for spec in table.sets:
        yield ""
        yield from _indent(render_set(spec, elements.get(spec.name, {})))
    for chain in table.chains:
        yield ""
        yield from _indent(render_chain(chain, table.family, specs))
    yield "}"


def _indent(lines: Iterable[str]) -> Iterator[str]:
    return (f"\t{line}" for line in lines)


def render_set(spec: SetSpec, elements: Mapping[bytes, bytes]) -> Iterator[str]:
    """Yield the lines of a set or map with its elements, in the order of their keys."""
    kind = "set" if spec.data is None else "map"
    data = ""
    if spec.data is not None:
        data = f" : {'verdict' if spec.data == VERDICTS else _fields(spec.data)}"
    yield f"{kind} {spec.name} {{"
    yield f"\ttypeof {_fields(spec.key)}{data}"
    if spec.size is not None:
        yield f"\tsize {spec.size}"
    flags = ["interval"] * spec.interval + ["dynamic"] * spec.dynamic + ["timeout"] * (spec.timeout_ms is not None)
    if flags:
        yield f"\tflags {','.join(flags)}"
    if spec.counter:
        yield "\tcounter"
    if elements:
        yield "\telements = {"
        yield from (f"\t\t{render_element(spec, key, elements[key])}," for key in _in_order(spec, elements))
        yield "\t}"
    yield "}"


def render_element(spec: SetSpec, key: bytes, value: bytes) -> str:
    """Return an element as it stands in a list of elements."""
    text = render_key(spec, key)
    if spec.data == VERDICTS:
        verdict, _, comment = value.partition(b"\0")
        data = f" : {verdict.decode()}"
    else:
        width = spec.data_length
        comment = value[width:]
        data = f" : {' . '.join(_values(spec.data, value))}" if spec.data else ""
    named = f' comment "{comment.decode(errors="replace")}"' if comment else ""
    return f"{text}{named}{data}"


def render_key(spec: SetSpec, key: bytes) -> str:
    """Return a key as it stands in an element; of an interval also its first key alone."""
    if spec.interval and len(key) > spec.key_length:
        return " . ".join(_interval(spec, key[: spec.key_length], key[spec.key_length :]))
    return " . ".join(_values(spec.key, key))


def render_chain(chain: Chain, family: Family, specs: Mapping[str, SetSpec]) -> Iterator[str]:
    """Yield the lines of a chain."""
    yield f"chain {chain.name} {{"
    if chain.comment:
        yield f'\tcomment "{chain.comment}"'
    if chain.hook is not None:
        hook = chain.hook
        yield f"\ttype {hook.type} hook {hook.hook} priority {hook.priority}; policy accept;"
    for rule in chain.rules:
        line = render_rule(rule, family, specs)
        if family is Family.IPV6 and any(isinstance(part, Dynset) for part in rule.expressions):
            # Key and data take 15 of the 16 registers: too many for nft 1.0.6, which ends in an assertion.
            line = f"# {line}  # (over netlink: nft 1.0.6 can't read this)"
        yield f"\t{line}"
    yield "}"


def _fields(fields: Iterable[Field]) -> str:
    return " . ".join(field.typeof for field in fields)


def _values(fields: Iterable[Field], packed: bytes) -> Iterator[str]:
    for field, value in _split(fields, packed):
        yield _value(field)(value)


def _split(fields: Iterable[Field], packed: bytes) -> Iterator[tuple[Field, bytes]]:
    start = 0
    for field in fields:
        yield field, packed[start : start + field.type.width]
        start += field.padded


def _value(field: Field) -> Callable[[bytes], str]:
    if field in ADDRESS_FIELDS:
        return lambda value: str(ipaddress.ip_address(value))
    if field == L4PROTO:
        return lambda value: _PROTOCOLS.get(value[0], str(value[0]))
    if field == SLOT or field.typeof == "meta mark":
        return lambda value: str(unpack_word(value))
    return lambda value: str(int.from_bytes(value, "big"))


def _interval(spec: SetSpec, first: bytes, last: bytes) -> Iterator[str]:
    for (field, low), (_, high) in zip(_split(spec.key, first), _split(spec.key, last), strict=True):
        if low == high:
            yield _value(field)(low)
        elif field in ADDRESS_FIELDS:
            networks = list(ipaddress.summarize_address_range(ipaddress.ip_address(low), ipaddress.ip_address(high)))
            whole = len(networks) == 1
            yield str(networks[0]) if whole else f"{_value(field)(low)}-{_value(field)(high)}"
        else:
            yield f"{_value(field)(low)}-{_value(field)(high)}"


def _in_order(spec: SetSpec, elements: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the keys in an order that people expect: slots count up, whatever the byte order of the host."""
    if spec.key[-1] != SLOT:
        return sorted(elements)
    return sorted(elements, key=unpack_slot)
