"""A rule in nft's own language, read from its expressions."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from kproxy.plan.nftables import expressions as e
from kproxy.plan.nftables.packing import PROTOCOL_NUMBERS, unpack_word
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.plan.nftables.model import Field, Rule, SetSpec

WORD_LENGTH = 4
INTERFACE_KEYS = ("iifname", "oifname", "iif", "oif")
STATE_BITS = {0x2: "established", 0x4: "related", 0x8: "new"}
STATUS_BITS = {0x10: "snat", 0x20: "dnat"}
FIB_TYPES = {e.LOCAL_ADDRESS: "local"}

_PROTOCOLS = {number: name.lower() for name, number in PROTOCOL_NUMBERS.items()}
_HEADERS = {
    ("network", 12, Family.IPV4): "ip saddr",
    ("network", 16, Family.IPV4): "ip daddr",
    ("network", 8, Family.IPV6): "ip6 saddr",
    ("network", 24, Family.IPV6): "ip6 daddr",
}


def render_rule(rule: Rule, family: Family, specs: Mapping[str, SetSpec]) -> str:
    """Return a rule as one line; `specs` are the sets it looks things up in, by name.

    Raises ValueError for expressions that kproxy never writes.
    """
    comment = f' comment "{rule.comment}"' if rule.comment else ""
    return _RuleText(family, specs).of(rule) + comment


class _RuleText:
    """Reads a rule's expressions as the kernel would, and keeps in mind what stands in which register."""

    def __init__(self, family: Family, specs: Mapping[str, SetSpec]) -> None:
        self._family = family
        self._ip = "ip" if family is Family.IPV4 else "ip6"
        self._specs = specs
        self._in: dict[int, str] = {}
        self._words: list[str] = []

    def of(self, rule: Rule) -> str:
        """Return the rule as one line."""
        for expression in rule.expressions:
            if not self._load(expression):
                self._words.append(self._act(expression))
        return " ".join(word for word in self._words if word)

    def _load(self, expression: e.Expression) -> bool:
        """Note what an expression puts into a register; False if it does something else."""
        match expression:
            case e.Meta(key, into):
                self._in[into] = key if key in INTERFACE_KEYS else f"meta {key}"
            case e.Payload(base, offset, _, into):
                self._in[into] = _HEADERS.get((base, offset, self._family)) or ("th dport" if offset else "th sport")
            case e.Ct(ct_key, into, direction):
                name = f"{self._ip} {ct_key}" if ct_key in ("saddr", "daddr") else ct_key
                self._in[into] = " ".join(["ct", *([direction] if direction else []), name])
            case e.Fib(address, into):
                self._in[into] = f"fib {address} type"
            case e.Numgen(modulus, into, offset, mode):
                self._in[into] = f"numgen {mode} mod {modulus}" + (f" offset {offset}" if offset else "")
            case e.Bitwise(source, into, mask, xor):
                self._in[into] = _bitwise(self._in[source], mask, xor)
            case _:
                return False
        return True

    def _act(self, expression: e.Expression) -> str:
        match expression:
            case e.Cmp(register, operator, value):
                return _comparison(self._in[register], operator, value)
            case e.Lookup():
                return self._lookup(expression)
            case e.SetMeta(key, source):
                return f"meta {key} set {self._in[source]}"
            case e.Dnat(address, _):
                return f"dnat {self._ip} to {self._in[address]}"
            case e.Dynset():
                return self._dynset(expression)
            case e.Masquerade(fully_random):
                return "masquerade fully-random" if fully_random else "masquerade"
            case e.Reject(with_reset):
                return "reject with tcp reset" if with_reset else "reject"
            case e.Verdict():
                return str(expression)
        raise ValueError(f"no words for {expression!r}")

    def _lookup(self, lookup: e.Lookup) -> str:
        keys = self._concatenation(self._specs[lookup.set].key, lookup.key)
        if lookup.into is None:
            return f"{keys} {'!= ' * lookup.invert}@{lookup.set}"
        if lookup.into == e.VERDICT:
            return f"{keys} vmap @{lookup.set}"
        self._in[lookup.into] = f"{keys} map @{lookup.set}"
        return ""

    def _dynset(self, dynset: e.Dynset) -> str:
        spec = self._specs[dynset.set]
        keys = self._concatenation(spec.key, dynset.key)
        timeout = f" timeout {dynset.timeout_ms // 1000}s" if dynset.timeout_ms else ""
        data = ""
        if dynset.data is not None and isinstance(spec.data, tuple):
            data = f" : {self._concatenation(spec.data, dynset.data)}"
        return f"{dynset.operation} @{dynset.set} {{ {keys}{timeout}{data} }}"

    def _concatenation(self, fields: Iterable[Field], start: int) -> str:
        parts = []
        for field in fields:
            parts.append(self._in[start])
            start += field.padded // 4
        return " . ".join(parts)


def _bitwise(what: str, mask: bytes, xor: bytes) -> str:
    if "addr" in what:
        return f"{what} & {ipaddress.ip_address(mask)}"
    bits, flipped = unpack_word(mask), unpack_word(xor)
    if not flipped:
        return f"{what} & {_number(what, bits)}"
    everything = (1 << 8 * WORD_LENGTH) - 1
    if bits == everything:
        return f"{what} ^ {_number(what, flipped)}"
    if bits == everything ^ flipped:
        return f"{what} | {_number(what, flipped)}"
    return f"{what} & {_number(what, bits)} ^ {_number(what, flipped)}"


def _number(what: str, bits: int) -> str:
    names = STATE_BITS if what == "ct state" else STATUS_BITS if what == "ct status" else {}
    return names.get(bits, f"0x{bits:08x}")


def _comparison(what: str, operator: str, value: bytes) -> str:
    sign = "" if operator == "==" else f"{operator} "
    number = unpack_word(value) if len(value) == WORD_LENGTH else 0
    for key, names in (("ct state", STATE_BITS), ("ct status", STATUS_BITS)):
        if what.startswith(f"{key} & "):
            flag = what.removeprefix(f"{key} & ")
            return f"{key} {flag}" if operator == "!=" and not number else f"{what} {operator} {number}"
        if what == key:
            return f"{key} {sign}{names.get(number, number)}"
    if what in INTERFACE_KEYS:
        name, end, _ = value.decode().partition("\0")
        return f'{what} {sign}"{name}{"" if end else "*"}"'
    if what == "meta l4proto":
        return f"{what} {sign}{_PROTOCOLS[value[0]]}"
    if what.startswith("fib "):
        return f"{what} {sign}{FIB_TYPES[number]}"
    if "addr" in what:
        return _address_comparison(what, operator, value)
    if what.startswith("meta mark"):
        return f"{what} {operator} 0x{number:08x}"
    raise ValueError(f"no words for a comparison of {what}")


def _address_comparison(what: str, operator: str, value: bytes) -> str:
    sign = "" if operator == "==" else f"{operator} "
    name, _, mask = what.partition(" & ")
    full = 4 if "ip " in name else 16
    length = ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen if mask and full == 4 else 8 * len(value)
    if mask and full == 16:
        length = int(ipaddress.IPv6Address(mask)).bit_count()
    address = ipaddress.ip_address(value.ljust(full, b"\0"))
    return f"{name} {sign}{address}" + (f"/{length}" if length < 8 * full else "")
