"""Messages to and from the servers that names outside the zone are asked of.

We ask with an EDNS of our own, but without it those who do not understand it (RFC 6891 section 7), and keep the answer
whole, whatever the client can take: it is cut per client (`forward.py`). Names in the records are written out in full,
so that they can stand in any message.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from kproxy.dns.codes import (
    CD,
    CNAME,
    DO,
    FORMERR,
    IN,
    MX,
    NOERROR,
    NS,
    NXDOMAIN,
    OPCODE,
    OPT,
    PTR,
    QR,
    RD,
    SOA,
    SRV,
    TC,
)
from kproxy.dns.query import HEADER, UDP_SIZE, Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAME = 255
MAX_RECORDS = 20_000

_FIXED = struct.Struct("!HHIH")
_NAMES_AT: dict[int, tuple[int, int]] = {
    NS: (0, 1),
    CNAME: (0, 1),
    SOA: (0, 2),
    PTR: (0, 1),
    MX: (2, 1),
    SRV: (6, 1),
    39: (0, 1),  # DNAME
    14: (0, 2),  # MINFO
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
}
"""Types whose data may hold compressed names: how many octets stand before the first, and how many names there are."""


class Question(NamedTuple):
    """What is asked upstream, and what an answer can be kept under. `name` is in lower case, wire form."""

    name: bytes
    qtype: int
    dnssec_ok: bool = False
    checking_disabled: bool = False

    def message(self, id_: int, *, edns: bool = True) -> bytes:
        """Return the query, with recursion desired."""
        flags = RD | (CD if self.checking_disabled else 0)
        question = self.name + struct.pack("!HH", self.qtype, IN)
        if not edns:
            return HEADER.pack(id_, flags, 1, 0, 0, 0) + question
        opt = b"\0" + struct.pack("!HHIH", OPT, UDP_SIZE, DO if self.dnssec_ok else 0, 0)
        return HEADER.pack(id_, flags, 1, 0, 0, 1) + question + opt


class Record(NamedTuple):
    """One record; names in `owner` and `rdata` are written out."""

    owner: bytes
    type: int
    ttl: int
    rdata: bytes
    rrclass: int = IN


class Response(NamedTuple):
    """An upstream's reply. Its OPT record is not among the additional ones."""

    rcode: int
    truncated: bool
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]

    @property
    def records(self) -> Iterator[Record]:
        """All records."""
        yield from self.answer
        yield from self.authority
        yield from self.additional

    @property
    def negative(self) -> bool:
        """Whether it says that the name, or the type asked, does not exist: no records but CNAMEs."""
        return self.rcode == NXDOMAIN or (
            self.rcode == NOERROR and not any(record.type != CNAME for record in self.answer)
        )

    def ttl(self) -> int | None:
        """Return for how many seconds it may be kept, None for one that may not (RFC 2308 section 5).

        That is the smallest TTL; of a negative one also the SOA's minimum, and without a SOA it is not kept.
        """
        if self.truncated or self.rcode not in (NOERROR, NXDOMAIN):
            return None
        ttls = [record.ttl for record in self.records]
        if self.negative:
            soas = [record for record in self.authority if record.type == SOA and len(record.rdata) >= 22]
            if not soas:
                return None
            ttls += [int.from_bytes(record.rdata[-4:]) for record in soas]
        return min(ttls, default=0)


def read_response(message: bytes, question: Question) -> Response:
    """Return an upstream's reply to a question; the id is the caller's to compare.

    Raises `Malformed` for anything that is not a sound reply to that very question (RFC 5452 section 9).
    """
    try:
        _, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
        if not flags & QR or flags & OPCODE:
            raise Malformed
        if flags & 15 == FORMERR and not questions:
            return Response(FORMERR, False, (), (), ())  # of what it can't read a server may say nothing more
        if questions != 1:
            raise Malformed
        name, at = _name(message, 12)
        if name.lower() != question.name or message[at : at + 4] != struct.pack("!HH", question.qtype, IN):
            raise Malformed
        sections = []
        at += 4
        if answers + authorities + additionals > MAX_RECORDS:
            raise Malformed
        for count in (answers, authorities, additionals):
            records, at = _records(message, at, count)
            sections.append(tuple(records))
    except (IndexError, struct.error):
        raise Malformed from None
    return Response(flags & 15, bool(flags & TC), *sections)


def _records(message: bytes, at: int, count: int) -> tuple[list[Record], int]:
    found = []
    for _ in range(count):
        owner, at = _name(message, at)
        kind, rrclass, ttl, length = _FIXED.unpack_from(message, at)
        at += _FIXED.size
        if at + length > len(message):
            raise Malformed
        if kind != OPT:
            # A TTL with its highest bit set is none (RFC 2181 section 8).
            found.append(Record(owner, kind, ttl if ttl < 1 << 31 else 0, _data(message, kind, at, length), rrclass))
        at += length
    return found, at


def _data(message: bytes, kind: int, at: int, length: int) -> bytes:
    """Return a record's data with its names written out."""
    if kind not in _NAMES_AT:
        return message[at : at + length]
    before, names = _NAMES_AT[kind]
    end, parts = at + length, [message[at : at + before]]
    at += before
    for _ in range(names):
        name, at = _name(message, at)
        parts.append(name)
    if at > end:
        raise Malformed
    return b"".join([*parts, message[at:end]])


def _name(message: bytes, at: int) -> tuple[bytes, int]:
    """Return a name written out, and where what follows it begins."""
    parts: list[bytes] = []
    size, end, lowest = 0, 0, at
    while True:
        length = message[at]
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | message[at + 1]
            # Pointers only lead back, so there is no going round in circles.
            if at >= lowest:
                raise Malformed
            lowest = at
            continue
        if length > 63 or size + length >= MAX_NAME:
            raise Malformed
        part = message[at : at + 1 + length]
        if len(part) != 1 + length:
            raise Malformed
        parts.append(part)
        size += 1 + length
        at += 1 + length
        if not length:
            return b"".join(parts), end or at
