"""Writes a reply: compressed, cut to the client's limit so that it is as full as can be, names spelt as asked.

* An owner that is the name asked is a pointer to offset 12, so it is spelt as asked by itself; so is the SOA, whose
  names point to the zone's inside the question.
* SRV targets are not compressed (RFC 2782); the owners of the addresses that go with them point at the targets.
* TC is set where records of the answer section are missing, not where only additional ones are (RFC 2181 section 9).
* Where not all of a set fits, each reply holds another part of it, and every record comes first equally often.
"""

from __future__ import annotations

import struct
from math import gcd
from typing import TYPE_CHECKING, Final

from kproxy.dns.codes import AA, AAAA, CD, CNAME, NS, QR, RA, RD, SERVFAIL, SOA, SRV, TC, A
from kproxy.dns.query import opt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.query import Query
    from kproxy.dns.records import Answer, RRset
    from kproxy.dns.upstream import Record

NOT_READY: Final = 14
"""Extended error code (RFC 8914): not all that the cluster holds was read yet."""

_COUNTS: Final = struct.Struct("!HHHHH")
_FIXED: Final = struct.Struct("!HHIH")
_SOA_TIMES: Final = struct.Struct("!5I")
_QUESTION: Final = b"\xc0\x0c"


class Turning:
    """A reply that holds addresses in another order each time: `head`, a window of a ring of records, `tail`.

    `ring` holds every record twice, so that any window is one slice. The counter is the record set's own: it goes on
    when the reply is made anew.
    """

    __slots__ = ("_rrset", "_size", "_span", "_step", "head", "ring", "tail")

    def __init__(self, head: bytes, ring: bytes, tail: bytes, rrset: RRset, records: int) -> None:
        self.head = head
        self.ring = ring
        self.tail = tail
        self._rrset = rrset
        size = len(ring) // (2 * len(rrset.rdata))
        self._size = size
        self._span = records * size
        self._step = turn_step(len(rrset.rdata), records)

    def next(self) -> bytes:
        """Return the next reply, without its first two octets (the id)."""
        at = next_turn(self._rrset, self._step) * self._size
        return self.head + self.ring[at : at + self._span] + self.tail

    def __len__(self) -> int:
        return len(self.head) + self._span + len(self.tail)


def next_turn(rrset: RRset, step: int) -> int:
    """Return the record to begin with this time."""
    turn = rrset.turn
    rrset.turn = (turn + step) % len(rrset.rdata)
    return turn


def turn_step(count: int, fitting: int) -> int:
    """Return how far apart the beginnings of two replies in a row are, when `fitting` of `count` records fit in one.

    It has no divisor in common with the count, so every record begins one of `count` replies; and where not all fit,
    each reply goes on about where the last one ended, so all are seen in as few replies as possible.
    """
    step = fitting if fitting < count else int(count * 0.618)
    step = max(1, step)
    while gcd(step, count) != 1:
        step += 1
    return step


def write(query: Query, answer: Answer, serial: int, ttl: int, *, recursion: bool) -> tuple[bytes | Turning, bool]:
    """Return the reply without its first two octets (the id), and whether it is good for the same query again.

    `serial` and `ttl` are for the SOA; `recursion` tells that we forward what is not ours.
    """
    flags = QR | AA | (query.flags & (RD | CD)) | (RA if recursion else 0) | answer.rcode
    tail = opt(query, 0, NOT_READY if answer.rcode == SERVFAIL else None)
    if len(answer.answer) == 1 and not answer.negative and not answer.additional:
        rrset = answer.answer[0]
        if rrset.type in (A, AAAA) and len(rrset.rdata) > 1:
            return _turning(query, rrset, flags, tail), True
    writer = Writer(query, len(tail))
    zone = query.message[12 + query.starts[-answer.zone.labels] : query.end - 4]
    pointer = (0xC000 | (query.end - 4 - len(zone))).to_bytes(2)
    soa_ttl = min(ttl, 300)
    for rrset in answer.answer:
        if rrset.type == SOA:
            writer.put(0, [_QUESTION + _soa(pointer, serial, soa_ttl, ttl)])
        else:
            writer.put_rrset(0, rrset, zone)
    if answer.negative:
        writer.put(1, [pointer + _soa(pointer, serial, soa_ttl, ttl)])
    for rrset in answer.additional:
        writer.put_rrset(2, rrset, zone)
    return writer.message(flags, tail), not writer.turned


class Writer:
    """Fills a message, section by section, until a record does not fit."""

    def __init__(self, query: Query, reserved: int) -> None:
        self._key = query.key
        self._question = query.message[12 : query.end]
        self._at = query.end
        self._room = query.limit - reserved
        self._parts: list[bytes] = []
        self._counts = [0, 0, 0]
        self._offsets: dict[bytes, int] = {}
        self.truncated = False
        self.turned = False

    def put(self, section: int, records: Iterable[bytes]) -> None:
        """Write whole records to a section: 0 answer, 1 authority, 2 additional."""
        for record in records:
            if not self._fits(section, len(record)):
                return
            self._parts.append(record)
            self._at += len(record)
            self._counts[section] += 1

    def put_rrset(self, section: int, rrset: RRset, zone: bytes) -> None:
        """Write a record set. `zone` is the zone's name as the question spells it."""
        owner = self._owner(rrset, zone)
        suffix = zone if rrset.relative else b""
        relative_data = suffix if rrset.type not in (A, AAAA) else b""
        name_at = 6 if rrset.type == SRV else 0
        rdata = rrset.rdata
        size = len(owner) + 10 + len(relative_data)
        whole = size * len(rdata) + sum(map(len, rdata))
        if section == 0 and len(rdata) > 1 and self._at + whole > self._room:
            fitting = (self._room - self._at) * len(rdata) // whole
            turn = next_turn(rrset, turn_step(len(rdata), fitting))
            rdata = rdata[turn:] + rdata[:turn]
            self.turned = True
        for data in rdata:
            if not self._fits(section, size + len(data)):
                return
            if rrset.type in _WITH_TARGET:
                self._note(data[name_at:].lower(), self._at + len(owner) + 10 + name_at)
            record = owner + _FIXED.pack(rrset.type, 1, rrset.ttl, len(data) + len(relative_data)) + data
            self._parts.append(record + relative_data)
            self._at += size + len(data)
            self._counts[section] += 1

    def put_record(self, section: int, record: Record, ttl: int) -> None:
        """Write one record of somebody else's."""
        key = record.owner.lower()
        offset = 12 if key == self._key else self._offsets.get(key)
        owner = record.owner if offset is None else (0xC000 | offset).to_bytes(2)
        size = len(owner) + 10 + len(record.rdata)
        if not self._fits(section, size):
            return
        if offset is None and self._at < 0x4000:
            self._offsets[key] = self._at
        self._parts.append(owner + _FIXED.pack(record.type, record.rrclass, ttl, len(record.rdata)) + record.rdata)
        if record.type == CNAME:
            self._note(record.rdata.lower(), self._at + len(owner) + 10)
        self._at += size
        self._counts[section] += 1

    def message(self, flags: int, tail: bytes) -> bytes:
        """Return all of it but the id; `tail` is the OPT record for which room was reserved."""
        an, ns, ar = self._counts
        if self.truncated:
            flags |= TC
        head = _COUNTS.pack(flags, 1, an, ns, ar + bool(tail))
        return b"".join([head, self._question, *self._parts, tail])

    def _fits(self, section: int, size: int) -> bool:
        if self.truncated:
            return False
        if self._at + size <= self._room:
            return True
        # Glue is a courtesy; an answer without it is whole.
        if section < 2:
            self.truncated = True
        return False

    def _note(self, name: bytes, offset: int) -> None:
        """Remember where a name stands, if a pointer can reach it."""
        if offset < 0x4000:
            self._offsets.setdefault(name, offset)

    def _owner(self, rrset: RRset, zone: bytes) -> bytes:
        if not rrset.owner:
            return _QUESTION
        offset = self._offsets.get(rrset.owner.lower())
        if offset is not None:
            return (0xC000 | offset).to_bytes(2)
        return rrset.owner + zone if rrset.relative else rrset.owner


_WITH_TARGET = (NS, CNAME, SRV)
"""Types whose target may own records further on."""


def _turning(query: Query, rrset: RRset, flags: int, tail: bytes) -> Turning:
    """Addresses of the name asked, of which there are several."""
    head = _QUESTION + _FIXED.pack(rrset.type, 1, rrset.ttl, len(rrset.rdata[0]))
    records = head + head.join(rrset.rdata)
    size = len(head) + len(rrset.rdata[0])
    fitting = min(len(rrset.rdata), (query.limit - query.end - len(tail)) // size)
    if fitting < len(rrset.rdata):
        flags |= TC
    counts = _COUNTS.pack(flags, 1, fitting, 0, 1 if tail else 0)
    return Turning(counts + query.message[12 : query.end], records + records, tail, rrset, fitting)


def _soa(zone: bytes, serial: int, ttl: int, negative_ttl: int) -> bytes:
    """Return a SOA record behind its owner; `zone` is a pointer to the zone's name."""
    names = b"\x02ns\x03dns%b\x0ahostmaster%b" % (zone, zone)
    times = _SOA_TIMES.pack(serial, 7200, 1800, 86400, negative_ttl)
    return _FIXED.pack(SOA, 1, ttl, len(names) + len(times)) + names + times
