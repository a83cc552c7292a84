"""The whole zone, message by message: AXFR (RFC 5936), and IXFR (RFC 1995) as far as "nothing changed" or "all of it".

The records are those that a client finds by asking for each name; `dns-version`, Pods and reverse zones are not among
them, as with CoreDNS. No I/O.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kproxy.dns.codes import AA, AAAA, IXFR, NS, QR, RD, SOA, A
from kproxy.dns.names import MAX_NAME, label_starts, relative
from kproxy.dns.query import HEADER, Malformed, skip_name
from kproxy.dns.reply import soa_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.dns.query import Query
    from kproxy.dns.zone import Zone

ROOM: Final = 16 * 1024
"""Octets of records in one message: other clients are answered between two of them."""

_FIXED: Final = struct.Struct("!HHIH")
_ZONE: Final = b"\xc0\x0c"
"""A pointer to the question's name."""


class ZoneChanged(Exception):
    """The zone is not any more what the first messages were of."""


def transfer(query: Query, zone: Zone) -> Iterator[bytes]:
    """Yield the messages that answer an AXFR or IXFR query for the zone. Raises `ZoneChanged` between two of them."""
    name = query.message[12 : query.end - 4]
    soa = _ZONE + soa_record(_ZONE, zone.serial, zone.config.ttl)
    if query.qtype == IXFR and _known_serial(query) == zone.serial:
        yield _message(query, [soa])
        return
    generation = zone.generation
    some, octets = [soa], len(soa)
    for record in _records(zone, name):
        some.append(record)
        octets += len(record)
        if octets >= ROOM:
            yield _message(query, some)
            some, octets = [], 0
            if zone.generation != generation:
                raise ZoneChanged
    yield _message(query, [*some, soa])


def _records(zone: Zone, name: bytes) -> Iterator[bytes]:
    """Yield all records but the SOA; `name` is the zone's as the question spells it."""
    suffix = zone.authority.name
    servers = zone.find(suffix, label_starts(suffix), NS)
    assert servers is not None
    for rrset in servers.answer:
        for data in rrset.rdata:
            yield _record(b"", NS, rrset.ttl, data + (name if rrset.relative else b""))
    for owner, types in (*_name_servers(), *zone.names()):
        key = owner + suffix
        if len(key) > MAX_NAME:
            continue  # nobody can ask for it
        starts = label_starts(key)
        for qtype in types:
            answer = zone.find(key, starts, qtype)
            if answer is None:
                continue
            for rrset in answer.answer:
                end = name if rrset.relative else b""
                for data in rrset.rdata:
                    yield _record(owner, rrset.type, rrset.ttl, data + end)


def _name_servers() -> Iterator[tuple[bytes, tuple[int, ...]]]:
    yield relative(b"ns", b"dns"), (A, AAAA)


def _record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    return owner + _ZONE + _FIXED.pack(kind, 1, ttl, len(data)) + data


def _message(query: Query, records: list[bytes]) -> bytes:
    flags = QR | AA | (query.flags & RD)
    head = query.message[:2] + HEADER.pack(0, flags, 1, len(records), 0, 0)[2:]
    return b"".join([head, query.message[12 : query.end], *records])


def _known_serial(query: Query) -> int | None:
    """Return the serial that an IXFR query has in its SOA, None if there is none."""
    message, at = query.message, query.end
    try:
        at = skip_name(message, at)
        (kind, _, _, length) = _FIXED.unpack_from(message, at)
        if kind != SOA or not length:
            return None
        at = skip_name(message, skip_name(message, at + _FIXED.size))
        return int.from_bytes(message[at : at + 4])
    except (IndexError, struct.error, Malformed):
        return None
