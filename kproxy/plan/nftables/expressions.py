"""What a rule of the nftables mode is made of: the kernel's own expressions, with the registers they work on.

The words in them (keys, operators, verdicts) are those of the `nft` language. `Register` numbers are 32-bit registers,
0 to 15: an IPv4 address, a port, a mark take one each, an IPv6 address four, an interface name four. A concatenation is
what stands in adjoining registers, so the key `ip daddr . meta l4proto . th dport` is three loads and one look-up:

    load_address(Family.IPV4, "daddr", 0)      # ip daddr -> register 0
    Meta("l4proto", 1)                         # meta l4proto -> register 1
    load_port("dport", 2)                      # th dport -> register 2
    Lookup("services", 0, VERDICT)             # vmap @services

Start a rule's registers at 0 or another multiple of 4, as nft does, or `nft list` can't name what is in them. Two
values that must stand beside each other in memory but are used apart (`dnat to ADDRESS . PORT`) are given as the
registers that a look-up filled: `Lookup("endpoints", 0, 0)` leaves an IPv4 address in 0 and the port in 1, an IPv6
address in 0 to 3 and the port in 4.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from kproxy.state.addresses import Family

Register: TypeAlias = int
"""A 32-bit register, 0 to 15."""

VERDICT: Register = -1
"""The register that holds what is to happen with the packet: where a verdict map writes to."""

MetaKey = Literal["l4proto", "mark", "nfproto", "iifname", "oifname", "iif", "oif"]
CtKey = Literal["state", "status", "mark", "direction", "saddr", "daddr", "proto-src", "proto-dst", "protocol"]
Direction = Literal["original", "reply"]
Comparison = Literal["==", "!=", "<", "<=", ">", ">="]
VerdictCode = Literal["accept", "drop", "continue", "return", "jump", "goto"]


class Meta(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`meta KEY`: a property of the packet, into a register."""

    key: MetaKey
    into: Register


class SetMeta(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`meta KEY set ...`: a register into a property of the packet (only "mark")."""

    key: MetaKey
    source: Register


class Payload(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Bytes of the packet's network or transport header, into a register and those after it."""

    base: Literal["network", "transport"]
    offset: int
    length: int
    into: Register


class Ct(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`ct [DIRECTION] KEY`: a property of the connection, into a register.

    "saddr" and "daddr" are the addresses of the table's own family (`ct original ip saddr`); those and the ports need
    a direction.
    """

    key: CtKey
    into: Register
    direction: Direction | None = None


class Cmp(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Go on with the rule only if the register compares so with `value`, byte by byte.

    `value` has the width and byte order of what was loaded: network order for headers, the host's for `meta mark`,
    `ct state` and `ct status`. A value shorter than what was loaded compares its start, as `iifname "veth*"` does.
    """

    register: Register
    operator: Comparison
    value: bytes


class Range(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Go on only if the register's value is (`==`) or is not (`!=`) between the two, both included."""

    register: Register
    operator: Literal["==", "!="]
    low: bytes
    high: bytes


class Bitwise(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`into = source & mask ^ xor`; all of one length. `mark or M` is mask `~M`, xor `M`."""

    source: Register
    into: Register
    mask: bytes
    xor: bytes


class Immediate(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Put a constant into a register."""

    into: Register
    value: bytes


class Lookup(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Look the key that starts in `key` up in a set or map; without a match the rule ends here.

    `into` None: a set (`@nodeport-ips`; with `invert`: `!= @nodeport-ips`). A register: a map, its data goes there.
    `VERDICT`: a verdict map (`vmap @services`).
    """

    set: str
    key: Register
    into: Register | None = None
    invert: bool = False


class Numgen(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`numgen random mod MODULUS offset OFFSET`: a number in the host's byte order, into a register."""

    modulus: int
    into: Register
    offset: int = 0
    mode: Literal["random", "inc"] = "random"


class Fib(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`fib saddr type` or `fib daddr type`: the address type (`LOCAL_ADDRESS`), into a register, in host order."""

    address: Literal["saddr", "daddr"]
    into: Register


LOCAL_ADDRESS = 2
"""RTN_LOCAL (linux/rtnetlink.h): what `fib daddr type local` compares with."""


class Dnat(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`dnat to ADDRESS:PORT` with both in registers; without a port register the port stays."""

    address: Register
    port: Register | None = None


class Masquerade(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`masquerade [fully-random]`."""

    fully_random: bool = True


class Reject(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`reject` (with an ICMP or ICMPv6 port unreachable) or `reject with tcp reset`."""

    with_reset: bool = False


class Verdict(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`accept`, `drop`, `continue`, `return`, `jump CHAIN`, `goto CHAIN`."""

    code: VerdictCode
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.chain}" if self.chain else self.code


class Dynset(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`update @SET { KEY timeout T : DATA }`: enter an element from the packet path, or refresh its timeout.

    `data` is where the data starts, for a map. The set needs the flags dynamic and, with a timeout, timeout.
    """

    set: str
    key: Register
    data: Register | None = None
    timeout_ms: int = 0
    operation: Literal["add", "update", "delete"] = "update"


class Counter(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`counter`: counts packets and bytes. Its state is no part of the rule: counters compare equal."""


class Notrack(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`notrack`: no connection tracking for this packet; in hooks before priority -200 only."""


Expression: TypeAlias = (
    Meta
    | SetMeta
    | Payload
    | Ct
    | Cmp
    | Range
    | Bitwise
    | Immediate
    | Lookup
    | Numgen
    | Fib
    | Dnat
    | Masquerade
    | Reject
    | Verdict
    | Dynset
    | Counter
    | Notrack
)

_ADDRESS_OFFSETS = {
    (Family.IPV4, "saddr"): 12,
    (Family.IPV4, "daddr"): 16,
    (Family.IPV6, "saddr"): 8,
    (Family.IPV6, "daddr"): 24,
}


def load_address(family: Family, which: Literal["saddr", "daddr"], into: Register) -> Payload:
    """Return `ip saddr`, `ip daddr`, `ip6 saddr` or `ip6 daddr`."""
    return Payload("network", _ADDRESS_OFFSETS[family, which], family.bits // 8, into)


def load_port(which: Literal["sport", "dport"], into: Register) -> Payload:
    """Return `th sport` or `th dport`: the same place in TCP, UDP and SCTP."""
    return Payload("transport", 0 if which == "sport" else 2, 2, into)
