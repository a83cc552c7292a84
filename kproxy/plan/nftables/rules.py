"""Rules in the words that kproxy needs, each with the line of nft that it is.

Registers: a key starts in register 0, and its fields follow each other as they do in the key.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal

from kproxy.plan.nftables.expressions import (
    LOCAL_ADDRESS,
    VERDICT,
    Bitwise,
    Cmp,
    Ct,
    Dnat,
    Dynset,
    Expression,
    Fib,
    Lookup,
    Meta,
    Numgen,
    Payload,
    SetMeta,
    Verdict,
    load_address,
    load_port,
)
from kproxy.plan.nftables.model import Rule
from kproxy.plan.nftables.packing import PROTOCOL_NUMBERS, pack_word

if TYPE_CHECKING:
    from kproxy.plan.local_traffic import LocalTraffic
    from kproxy.state.addresses import Family

Expressions = tuple[Expression, ...]

ALL_BITS = 0xFFFFFFFF
# linux/netfilter/nf_conntrack_common.h; NF_CT_STATE_BIT(IP_CT_NEW) = 1 << (2 + 1), IPS_DST_NAT
STATE_NEW = 0x8
STATUS_DNAT = 0x20
INTERFACE_NAME_LENGTH = 16


def address_registers(family: Family) -> int:
    """Return how many registers an address takes."""
    return family.bits // 32


def jump(chain: str) -> Verdict:
    """`jump CHAIN`."""
    return Verdict("jump", chain)


def goto(chain: str) -> Verdict:
    """`goto CHAIN`."""
    return Verdict("goto", chain)


def frontend(family: Family) -> Expressions:
    """`ip daddr . meta l4proto . th dport`, the key of a frontend."""
    after = address_registers(family)
    return (load_address(family, "daddr", 0), Meta("l4proto", after), load_port("dport", after + 1))


NODE_PORT: Expressions = (Meta("l4proto", 0), load_port("dport", 1))
"""`meta l4proto . th dport`, the key of a node port."""


def vmap(key: Expressions, name: str) -> Expressions:
    """`KEY vmap @NAME`."""
    return (*key, Lookup(name, 0, VERDICT))


def in_set(key: Expressions, name: str, *, invert: bool = False) -> Expressions:
    """`KEY @NAME` or `KEY != @NAME`."""
    return (*key, Lookup(name, 0, invert=invert))


def load(family: Family, which: Literal["saddr", "daddr"]) -> Expressions:
    """`ip saddr` or `ip daddr`."""
    return (load_address(family, which, 0),)


def connection_is_new() -> Expressions:
    """`ct state new`."""
    return _ct_bits("state", STATE_NEW, present=True)


def connection_is_not_new() -> Expressions:
    """`ct state & new == 0`: an implicit `ct state != new` would compare the whole word."""
    return _ct_bits("state", STATE_NEW, present=False)


def was_translated() -> Expressions:
    """`ct status dnat`."""
    return _ct_bits("status", STATUS_DNAT, present=True)


def was_not_translated() -> Expressions:
    """`ct status & dnat == 0`: an implicit `ct status != dnat` would compare the whole word."""
    return _ct_bits("status", STATUS_DNAT, present=False)


def _ct_bits(key: Literal["state", "status"], bits: int, *, present: bool) -> Expressions:
    masked = Bitwise(0, 0, pack_word(bits), pack_word(0))
    return (Ct(key, 0), masked, Cmp(0, "!=" if present else "==", pack_word(0)))


def set_mark(mark: int) -> Expressions:
    """`meta mark set meta mark | MARK`."""
    return (Meta("mark", 0), Bitwise(0, 0, pack_word(ALL_BITS ^ mark), pack_word(mark)), SetMeta("mark", 0))


def flip_mark(mark: int) -> Expressions:
    """`meta mark set meta mark ^ MARK`."""
    return (Meta("mark", 0), Bitwise(0, 0, pack_word(ALL_BITS), pack_word(mark)), SetMeta("mark", 0))


def mark_is_absent(mark: int) -> Expressions:
    """`meta mark & MARK == 0`."""
    return (Meta("mark", 0), Bitwise(0, 0, pack_word(mark), pack_word(0)), Cmp(0, "==", pack_word(0)))


def protocol_is(protocol: str) -> Expressions:
    """`meta l4proto tcp`."""
    return (Meta("l4proto", 0), Cmp(0, "==", bytes([PROTOCOL_NUMBERS[protocol]])))


def address_type_is_local(which: Literal["saddr", "daddr"]) -> Expressions:
    """`fib saddr type local`."""
    return (Fib(which, 0), Cmp(0, "==", pack_word(LOCAL_ADDRESS)))


def address_in(family: Family, which: Literal["saddr", "daddr"], cidr: str, *, invert: bool = False) -> Expressions:
    """`ip saddr CIDR` or `ip saddr != CIDR`, as nft compiles it: whole bytes are compared, others are masked first."""
    network = ipaddress.ip_network(cidr)
    packed, length = network.network_address.packed, network.prefixlen
    operator: Literal["==", "!="] = "!=" if invert else "=="
    loaded = load_address(family, which, 0)
    if length % 8 == 0 and length:
        whole = length // 8
        part = Payload(loaded.base, loaded.offset, whole, 0)
        return (part, Cmp(0, operator, packed[:whole]))
    return (loaded, Bitwise(0, 0, network.netmask.packed, bytes(len(packed))), Cmp(0, operator, packed))


def from_pods(family: Family, local: LocalTraffic) -> Expressions:
    """Match traffic of the pods that the detector knows; only with a detector."""
    return _source(family, local, invert=False)


def not_from_pods(family: Family, local: LocalTraffic) -> Expressions:
    """Match all other traffic; only with a detector."""
    return _source(family, local, invert=True)


def _source(family: Family, local: LocalTraffic, *, invert: bool) -> Expressions:
    if local.cidr:
        return address_in(family, "saddr", local.cidr, invert=invert)
    # By name, not by index: pods' interfaces come and go.
    name = local.interface.encode().ljust(INTERFACE_NAME_LENGTH, b"\0")
    value = name if local.interface else local.interface_prefix.encode()
    return (Meta("iifname", 0), Cmp(0, "!=" if invert else "==", value))


def translate(family: Family, key: Expressions, slots: int, base: int, endpoints: str) -> Expressions:
    """`dnat ip to KEY . numgen random mod SLOTS offset BASE map @ENDPOINTS`."""
    after = 2 if key == NODE_PORT else address_registers(family) + 2
    return (*key, Numgen(slots, after, base), Lookup(endpoints, 0, 0), Dnat(0, address_registers(family)))


def translate_as_before(family: Family, affinity: str) -> Expressions:
    """`dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @AFFINITY`."""
    width = address_registers(family)
    return (
        load_address(family, "saddr", 0),
        load_address(family, "daddr", width),
        Meta("l4proto", 2 * width),
        load_port("dport", 2 * width + 1),
        Lookup(affinity, 0, 0),
        Dnat(0, width),
    )


def original_frontend(family: Family) -> Expressions:
    """`ct original ip daddr . meta l4proto . ct original proto-dst`: the frontend of a translated packet."""
    after = address_registers(family)
    return (Ct("daddr", 0, "original"), Meta("l4proto", after), Ct("proto-dst", after + 1, "original"))


ORIGINAL_NODE_PORT: Expressions = (Meta("l4proto", 0), Ct("proto-dst", 1, "original"))
"""`meta l4proto . ct original proto-dst`."""


def remember(family: Family, affinity: str, seconds: int) -> Expressions:
    """`update @AFFINITY { CLIENT . FRONTEND timeout SECONDS : ip daddr . th dport }`, of a translated packet."""
    width = address_registers(family)
    data = 2 * width + 2
    return (
        Ct("saddr", 0, "original"),
        Ct("daddr", width, "original"),
        Meta("l4proto", 2 * width),
        Ct("proto-dst", 2 * width + 1, "original"),
        load_address(family, "daddr", data),
        load_port("dport", data + width),
        Dynset(affinity, 0, data, seconds * 1000),
    )


def rule(*parts: Expressions | Expression, comment: str = "") -> Rule:
    """Put a rule together."""
    flat: list[Expression] = []
    for part in parts:
        if isinstance(part, tuple):
            flat.extend(part)
        else:
            flat.append(part)
    return Rule(tuple(flat), comment)
