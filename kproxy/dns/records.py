"""What the zone says to a question: sets of records, without the bytes that depend on how the question was spelt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.dns.codes import ANY, HINFO, NOERROR, NXDOMAIN, SERVFAIL
from kproxy.dns.names import label_starts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANY_TTL = 8482
MINIMAL_HINFO = b"\x07RFC8482\x00"


class RRset:
    """Records of one owner and type, each once.

    `owner` b"" is the name asked. With `relative`, the data ends where the zone's name follows, as the question spells
    it. `size` is how long all data is. `turn` is the record to begin with when not all fit, or it is their turn, `ring`
    all records as messages have them; whoever writes messages keeps both.
    """

    __slots__ = ("_size", "owner", "rdata", "relative", "ring", "ttl", "turn", "type")

    def __init__(
        self, kind: int, ttl: int, rdata: tuple[bytes, ...], owner: bytes = b"", *, relative: bool = False
    ) -> None:
        self.type = kind
        self.ttl = ttl
        self.rdata = rdata
        self.owner = owner
        self.relative = relative
        self.turn = 0
        self.ring = b""
        self._size = 0

    @property
    def size(self) -> int:
        """Length of all data in octets."""
        if not self._size:
            self._size = sum(map(len, self.rdata))
        return self._size

    def __repr__(self) -> str:
        return f"RRset({self.type}, {self.ttl}, {self.rdata!r}, {self.owner!r}, relative={self.relative})"


class Authority(NamedTuple):
    """The zone that an answer is from: its name in lower case, and how many labels that has."""

    name: bytes
    labels: int


def authority(name: bytes) -> Authority:
    """Return a zone by its wire name."""
    return Authority(name.lower(), len(label_starts(name)))


_NO_GLUE: Mapping[bytes, Iterable[bytes]] = {}


class Answer(NamedTuple):
    """The answer to a question.

    `glue` are the addresses of names that the answer leads to; the names are relative to the zone. `pursue` is a name
    outside at which a chain of CNAMEs leaves the zone: what it has is the rest of the answer. A `negative` one carries
    the SOA of `zone`; its answer records, if any, are CNAMEs that lead to nothing.
    """

    zone: Authority
    rcode: int = NOERROR
    answer: tuple[RRset, ...] = ()
    glue: Mapping[bytes, Iterable[bytes]] = _NO_GLUE
    pursue: bytes = b""
    negative: bool = False


def no_data(zone: Authority, qtype: int = 0) -> Answer:
    """Return the answer for a name that exists, but has nothing of that type. ANY gets a little (RFC 8482)."""
    if qtype == ANY:
        return Answer(zone, answer=(RRset(HINFO, ANY_TTL, (MINIMAL_HINFO,)),))
    return Answer(zone, negative=True)


def no_name(zone: Authority) -> Answer:
    """Return the answer for a name that does not exist."""
    return Answer(zone, NXDOMAIN, negative=True)


def not_ready(zone: Authority) -> Answer:
    """Return the answer for a name of which nothing is known *yet*."""
    return Answer(zone, SERVFAIL, negative=True)
