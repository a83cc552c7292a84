"""Reads a query. Everything that is wrong with one is answered here, so that the rest meets good ones only.

Behaviour: RFC 1035, 6891 (EDNS), 8906 (unknown things are ignored, not refused), 9619 (one question).
"""

from __future__ import annotations

import struct
from typing import Final

from kproxy.dns.codes import BADVERS, CD, DO, FORMERR, NOTIMP, OPCODE, OPT, QR, RA, RD, REFUSED

UDP_SIZE: Final = 1232
"""What we say we take over UDP and what a reply over UDP may have: no fragments anywhere (DNS flag day 2020)."""
PLAIN_UDP_SIZE: Final = 512
TCP_SIZE: Final = 65535

HEADER: Final = struct.Struct("!6H")
_COUNTS_PLAIN: Final = b"\0\1\0\0\0\0\0\0"
_FIXED: Final = struct.Struct("!HHHHH")
"""Behind a record's owner: type, class, TTL (two halves), length of the data. In an OPT: 41, size, rcode and version,
flags, length."""


class Malformed(Exception):
    """A message that can't be read."""


class Query:
    """A good query: one question of class IN.

    `message` is all of it; `key` the name in lower case; `end` where the question ends (the name is
    `message[12:end - 4]`); `starts` where the labels begin in it. `limit` is the size that the reply may have,
    `dnssec_ok` is None without EDNS. `plain` tells that nothing in it is peculiar to one client: behind the question is
    at most an OPT without options.
    """

    __slots__ = ("dnssec_ok", "end", "flags", "key", "limit", "message", "plain", "qtype", "starts")

    def __init__(self, message: bytes, flags: int, starts: list[int], end: int, qtype: int) -> None:
        self.message = message
        self.flags = flags
        self.starts = starts
        self.end = end
        self.key = message[12 : end - 4].lower()
        self.qtype = qtype
        self.limit = PLAIN_UDP_SIZE
        self.dnssec_ok: bool | None = None
        self.plain = len(message) <= end + 1 + _FIXED.size


def read_query(message: bytes, *, tcp: bool = False) -> Query | bytes | None:
    """Return the query, or the reply that says what is wrong with it, or None where the only answer is silence."""
    if len(message) < 12:
        return None
    _, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if flags & QR:
        return None
    if flags & OPCODE:
        return _header(message, flags, NOTIMP)
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return _header(message, flags, FORMERR)
    try:
        query = _question(message, flags)
        version = _records(query, answers + authorities, additionals) if message[4:12] != _COUNTS_PLAIN else 0
    except (Malformed, IndexError, struct.error):
        return _header(message, flags, FORMERR)
    if tcp:
        query.limit = TCP_SIZE
    if version:
        return error_reply(query, BADVERS)
    if query.qtype == OPT:
        return error_reply(query, FORMERR)
    if message[query.end - 2 : query.end] != b"\0\1":
        return error_reply(query, REFUSED)
    return query


def error_reply(query: Query, rcode: int, *, recursion: bool = False, reason: int | None = None) -> bytes:
    """Return a reply without records: the question, and an OPT if there was one.

    `reason` is an extended error code (RFC 8914), for who speaks EDNS.
    """
    flags = QR | (query.flags & (RD | CD)) | (RA if recursion else 0) | (rcode & 15)
    additional = opt(query, rcode >> 4, reason)
    head = b"%b%b\0\1\0\0\0\0\0%c" % (query.message[:2], flags.to_bytes(2), 1 if additional else 0)
    return head + query.message[12 : query.end] + additional


def opt(query: Query, extended_rcode: int = 0, reason: int | None = None) -> bytes:
    """Return the OPT record of a reply; nothing if the query had none."""
    if query.dnssec_ok is None:
        return b""
    option = b"" if reason is None else struct.pack("!HHH", 15, 2, reason)
    flags = DO if query.dnssec_ok else 0
    return b"\0" + _FIXED.pack(OPT, UDP_SIZE, extended_rcode << 8, flags, len(option)) + option


def _header(message: bytes, flags: int, rcode: int) -> bytes:
    """Return a reply of a header alone."""
    return message[:2] + (QR | (flags & (OPCODE | RD | CD)) | rcode).to_bytes(2) + bytes(8)


def _question(message: bytes, flags: int) -> Query:
    question = message[12:]
    starts: list[int] = []
    at = 0
    length = question[0]
    while length:
        if length > 63:
            raise Malformed  # a pointer has nothing to point to yet
        starts.append(at)
        at += 1 + length
        length = question[at]
    if at >= 255 or at + 5 > len(question):
        raise Malformed
    return Query(message, flags, starts, at + 17, question[at + 1] << 8 | question[at + 2])


def _records(query: Query, before: int, additionals: int) -> int:
    """Read what follows the question, of which only the OPT counts; return the EDNS version."""
    message, at, version = query.message, query.end, 0
    for position in range(before + additionals):
        owner = at
        at = skip_name(message, at)
        kind, size, high, flags, length = _FIXED.unpack_from(message, at)
        at += 10 + length
        if at > len(message):
            raise Malformed
        if kind == OPT:
            if position < before or message[owner] or query.dnssec_ok is not None:
                raise Malformed
            query.dnssec_ok = bool(flags & DO)
            query.limit = min(max(size, PLAIN_UDP_SIZE), UDP_SIZE)
            version = high & 255
    return version


def skip_name(message: bytes, at: int) -> int:
    """Return where the name that begins at `at` ends; a pointer is not followed. Raises Malformed, IndexError."""
    length = message[at]
    while length:
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed
        at += 1 + length
        length = message[at]
    return at + 1
