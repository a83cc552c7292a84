"""Tables, chains, rules, sets and elements of the nftables mode, as plain values. No netlink in here.

A whole table, small but complete::

    services = SetSpec("services", (IP_DADDR, L4PROTO, TH_DPORT), data=VERDICTS)
    endpoints = SetSpec("endpoints", (IP_DADDR, L4PROTO, TH_DPORT, SLOT), data=(IP_DADDR, TH_DPORT))
    frontend = (load_address(Family.IPV4, "daddr", 0), Meta("l4proto", 1), load_port("dport", 2))
    Table(
        Family.IPV4,
        "kproxy",
        comment="kproxy, layout 1",
        sets=(services, endpoints),
        chains=(
            Chain("cluster-2", (Rule((*frontend, Numgen(2, 3), Lookup("endpoints", 0, 0), Dnat(0, 1))),)),
            Chain("services", (Rule((*frontend, Lookup("services", 0, VERDICT))),)),
            Chain("prerouting", (Rule((Verdict("jump", "services"),)),), Hook("nat", "prerouting", -100)),
        ),
    )

and its elements, which are not part of it, by set::

    goto = verdict_value(Verdict("goto", "cluster-2"), "default/web:http")
    {"services": {key(ip4("10.96.0.10"), bytes([6]), port(80)): goto},
     "endpoints": {key(ip4("10.96.0.10"), bytes([6]), port(80), slot(0)): key(ip4("10.180.0.1"), port(8080)), ...}}

In nft's own words::

    table ip kproxy {
      comment "kproxy, layout 1"
      map services {
        typeof ip daddr . meta l4proto . th dport : verdict
        elements = { 10.96.0.10 . tcp . 80 comment "default/web:http" : goto cluster-2 }
      }
      map endpoints {
        typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport
        elements = { 10.96.0.10 . tcp . 80 . 0 : 10.180.0.1 . 8080, ... }
      }
      chain cluster-2 { dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @endpoints }
      chain services { ip daddr . meta l4proto . th dport vmap @services }
      chain prerouting { type nat hook prerouting priority dstnat; jump services; }
    }

**Elements** number hundreds of thousands, so each is a pair of `bytes` in a dictionary, not an object, and is compared
and written without being taken apart:

* the *key*: its fields one after the other, each padded with zeros to a multiple of 4 bytes (unless there is only one),
  in the byte order that the packet path sees (`key` does the padding). In an interval set: the first key of the
  interval, then the last one, so it is twice as long as `SetSpec.key_length`.
* the *value*, for a data map: its fields in the same manner; for a verdict map: the verdict in nft's words
  (`b"goto cluster-2"`); for a set: nothing.
* a *comment* may follow the value, after a zero byte where there is a verdict (`verdict_value`, `commented`). It is
  part of what is compared: an element whose comment changes is written anew. It costs the kernel and the encoder time,
  so it belongs on frontends, not on endpoints.

Equal values should be the same object (`cluster-2` stands behind thousands of frontends); nothing depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kproxy.plan.nftables.expressions import Expression, Verdict

MAX_COMMENT = 127
"""What nft shows of a comment on a table, chain, rule, set or element, in bytes (NFTNL_UDATA_COMMENT_MAXLEN - 1)."""

MAX_NAME = 255
"""Longest name of a table, chain or set, in bytes (NFT_NAME_MAXLEN - 1)."""


FAMILY_WORDS = {Family.IPV4: "ip", Family.IPV6: "ip6"}
"""What nft calls the families."""


class DataType(NamedTuple):
    """A type of nft: its name, its number (NFTA_SET_KEY_TYPE) and its width in bytes."""

    name: str
    number: int
    width: int


class Field(NamedTuple):
    """One part of a key or of data: what it is in nft's words (`typeof`), and its type."""

    typeof: str
    type: DataType

    @property
    def padded(self) -> int:
        """Bytes in a concatenation: the width, rounded up to a multiple of 4."""
        return (self.type.width + 3) & ~3


_INTEGER = DataType("integer", 4, 4)
_IPV4_ADDR = DataType("ipv4_addr", 7, 4)
_IPV6_ADDR = DataType("ipv6_addr", 8, 16)
_INET_PROTO = DataType("inet_proto", 12, 1)
_INET_SERVICE = DataType("inet_service", 13, 2)
_MARK = DataType("mark", 19, 4)

IP_SADDR = Field("ip saddr", _IPV4_ADDR)
IP_DADDR = Field("ip daddr", _IPV4_ADDR)
IP6_SADDR = Field("ip6 saddr", _IPV6_ADDR)
IP6_DADDR = Field("ip6 daddr", _IPV6_ADDR)
L4PROTO = Field("meta l4proto", _INET_PROTO)
TH_SPORT = Field("th sport", _INET_SERVICE)
TH_DPORT = Field("th dport", _INET_SERVICE)
MARK = Field("meta mark", _MARK)
SLOT = Field("numgen random mod 2", _INTEGER)
"""A number in the host's byte order, as `numgen` makes it."""

FIELDS = (IP_SADDR, IP_DADDR, IP6_SADDR, IP6_DADDR, L4PROTO, TH_SPORT, TH_DPORT, MARK, SLOT)

Verdicts: TypeAlias = Literal["verdict"]
VERDICTS: Verdicts = "verdict"
"""What a verdict map has for `SetSpec.data`."""


class SetSpec(msgspec.Struct, frozen=True, gc=False):
    """A set, or with `data` a map: what it is, without its elements.

    `interval`: keys are intervals (of concatenations: `10.96.0.10 . tcp . 80 . 10.0.0.0/8`); the key needs at least
    two fields. `dynamic`: rules enter elements (`Dynset`). `timeout_ms`: elements expire; 0 is "with timeouts, none by
    default". `counter`: every element counts its packets and bytes. `size`: how many elements it takes; only for
    dynamic sets, which hold 65535 where none is given.
    """

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] | Verdicts | None = None
    interval: bool = False
    dynamic: bool = False
    timeout_ms: int | None = None
    counter: bool = False
    size: int | None = None
    comment: str = ""

    @property
    def key_length(self) -> int:
        """Bytes of a key (in an interval set: of each of its ends)."""
        return _length(self.key)

    @property
    def data_length(self) -> int:
        """Bytes of the value in a data map, else 0."""
        return _length(self.data) if isinstance(self.data, tuple) else 0


def _length(fields: tuple[Field, ...]) -> int:
    return fields[0].type.width if len(fields) == 1 else sum(field.padded for field in fields)


class Hook(msgspec.Struct, frozen=True, gc=False):
    """Where a base chain is called from. Its policy is accept, always."""

    type: Literal["filter", "nat", "route"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Expressions that are worked off from left to right until one does not match."""

    expressions: tuple[Expression, ...]
    comment: str = ""


NOT_UNDERSTOOD = Rule((), "not understood")
"""What is read where the kernel holds a rule that kproxy can't have written: it equals no rule that is wanted."""


class Chain(msgspec.Struct, frozen=True):
    """A chain with all its rules; a base chain when it has a hook."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    comment: str = ""


class Table(msgspec.Struct, frozen=True):
    """A table with everything in it but the elements of its sets. `comment` carries the version of the layout."""

    family: Family
    name: str
    sets: tuple[SetSpec, ...] = ()
    chains: tuple[Chain, ...] = ()
    comment: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """A table as it was read back, at one generation of the kernel's rules.

    `elements`: by set; those of dynamic sets, which rules enter, are not among them. A set that kproxy can't have made
    has no key fields, and no elements here; a rule is `NOT_UNDERSTOOD`.
    """

    table: Table
    elements: Mapping[str, Mapping[bytes, bytes]]
    generation: int


def key(*fields: bytes) -> bytes:
    """Return the concatenation of fields, each padded to a multiple of 4 bytes: an element's key, or a map's data.

    A single field is no concatenation, and stays as it is.
    """
    return fields[0] if len(fields) == 1 else b"".join(field + b"\0" * (-len(field) % 4) for field in fields)


def verdict_value(verdict: Verdict, comment: str = "") -> bytes:
    """Return the value of an element of a verdict map."""
    text = str(verdict).encode()
    return text + b"\0" + comment_bytes(comment) if comment else text


def commented(value: bytes, comment: str) -> bytes:
    """Return the value of an element of a data map or (`value` empty) a set, with a comment."""
    return value + comment_bytes(comment)


def comment_bytes(text: str) -> bytes:
    """Return a comment as it is stored: printable, without quotes, and cut to what nft shows."""
    if not text.isprintable() or '"' in text:
        text = "".join(character if character.isprintable() and character != '"' else "?" for character in text)
    stored = text.encode()
    return stored if len(stored) <= MAX_COMMENT else stored[:MAX_COMMENT].decode(errors="ignore").encode()
