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
    from collections.abc import Iterable, Mapping

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

    `ring` holds every record twice, so that any window is one slice. It and the counter are the record set's own: many
    replies, to queries that differ in spelling or size, share one ring, and the counter goes on when one is made anew.
    """

    __slots__ = ("_rrset", "_size", "_span", "_step", "head", "ring", "tail")

    def __init__(self, head: bytes, tail: bytes, rrset: RRset, records: int) -> None:
        self.head = head
        self.ring = rrset.ring
        self.tail = tail
        self._rrset = rrset
        size = len(rrset.ring) // (2 * len(rrset.rdata))
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
    if len(answer.answer) == 1 and not answer.negative and not answer.glue:
        rrset = answer.answer[0]
        if rrset.type in (A, AAAA) and len(rrset.rdata) > 1:
            return _turning(query, rrset, flags, tail), True
    writer = Writer(query, len(tail))
    zone = query.message[12 + query.starts[-answer.zone.labels] : query.end - 4]
    pointer = (0xC000 | (query.end - 4 - len(zone))).to_bytes(2)
    for rrset in answer.answer:
        if rrset.type == SOA:
            writer.put(0, _QUESTION + soa_record(pointer, serial, ttl))
        else:
            writer.put_rrset(rrset, zone)
    if answer.negative:
        writer.put(1, pointer + soa_record(pointer, serial, ttl))
    if answer.glue and not writer.truncated:
        writer.put_glue(answer.glue, answer.answer[-1].ttl, zone)
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

    def put(self, section: int, record: bytes) -> bool:
        """Write a whole record to a section (0 answer, 1 authority, 2 additional); tell whether it fits."""
        size = len(record)
        if self.truncated or self._at + size > self._room:
            # Glue is a courtesy; an answer without it is whole.
            self.truncated |= section < 2
            return False
        self._parts.append(record)
        self._at += size
        self._counts[section] += 1
        return True

    def put_rrset(self, rrset: RRset, zone: bytes) -> None:
        """Write a record set to the answer section. `zone` is the zone's name as the question spells it."""
        offset = self._offsets.get(rrset.owner.lower()) if rrset.owner else 12
        owner = rrset.owner if offset is None else (0xC000 | offset).to_bytes(2)
        suffix = zone if rrset.relative else b""
        name_at = len(owner) + 10 + (6 if rrset.type == SRV else 0)
        rdata = rrset.rdata
        whole = (len(owner) + 10 + len(suffix)) * len(rdata) + rrset.size
        if len(rdata) > 1 and self._at + whole > self._room:
            fitting = max(0, self._room - self._at) * len(rdata) // whole
            turn = next_turn(rrset, turn_step(len(rdata), fitting))
            rdata = rdata[turn:] + rdata[:turn]
            self.turned = True
        for data in rdata:
            at = self._at
            head = owner + _FIXED.pack(rrset.type, 1, rrset.ttl, len(data) + len(suffix))
            if not self.put(0, head + data + suffix):
                return
            if rrset.type in _WITH_TARGET:
                self._note(data[name_at - len(head) :].lower(), at + name_at)

    def put_glue(self, glue: Mapping[bytes, Iterable[bytes]], ttl: int, zone: bytes) -> None:
        """Write the addresses of names that are relative to the zone to the additional section."""
        for name, addresses in glue.items():
            offset = self._offsets.get(name.lower())
            owner = name + zone if offset is None else (0xC000 | offset).to_bytes(2)
            for address in addresses:
                head = _FIXED.pack(A if len(address) == 4 else AAAA, 1, ttl, len(address))
                if not self.put(2, owner + head + address):
                    return

    def put_record(self, section: int, record: Record, ttl: int) -> None:
        """Write one record of somebody else's."""
        key = record.owner.lower()
        at, offset = self._at, 12 if key == self._key else self._offsets.get(key)
        owner = record.owner if offset is None else (0xC000 | offset).to_bytes(2)
        head = owner + _FIXED.pack(record.type, record.rrclass, ttl, len(record.rdata))
        if not self.put(section, head + record.rdata):
            return
        if offset is None:
            self._note(key, at)
        if record.type == CNAME:
            self._note(record.rdata.lower(), at + len(head))

    def message(self, flags: int, tail: bytes) -> bytes:
        """Return all of it but the id; `tail` is the OPT record for which room was reserved."""
        an, ns, ar = self._counts
        if self.truncated:
            flags |= TC
        head = _COUNTS.pack(flags, 1, an, ns, ar + bool(tail))
        return b"".join([head, self._question, *self._parts, tail])

    def _note(self, name: bytes, offset: int) -> None:
        """Remember where a name stands, if a pointer can reach it."""
        if offset < 0x4000:
            self._offsets.setdefault(name, offset)


_WITH_TARGET = (NS, CNAME, SRV)
"""Types whose target may own records further on."""


def _turning(query: Query, rrset: RRset, flags: int, tail: bytes) -> Turning:
    """Addresses of the name asked, of which there are several."""
    if not rrset.ring:
        head = _QUESTION + _FIXED.pack(rrset.type, 1, rrset.ttl, len(rrset.rdata[0]))
        rrset.ring = (head + head.join(rrset.rdata)) * 2
    size = len(rrset.ring) // (2 * len(rrset.rdata))
    fitting = min(len(rrset.rdata), (query.limit - query.end - len(tail)) // size)
    if fitting < len(rrset.rdata):
        flags |= TC
    counts = _COUNTS.pack(flags, 1, fitting, 0, 1 if tail else 0)
    return Turning(counts + query.message[12 : query.end], tail, rrset, fitting)


def soa_record(zone: bytes, serial: int, ttl: int) -> bytes:
    """Return the SOA record behind its owner; `zone` is a pointer to the zone's name, `ttl` that of its records."""
    names = b"\x02ns\x03dns%b\x0ahostmaster%b" % (zone, zone)
    times = _SOA_TIMES.pack(serial, 7200, 1800, 86400, ttl)
    return _FIXED.pack(SOA, 1, min(ttl, 300), len(names) + len(times)) + names + times
