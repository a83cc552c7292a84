"""From a query's bytes to the reply's: what a server calls for every message. No I/O, no clock.

::

    zone = Zone(ZoneConfig(domain="cluster.local"))
    zone.apply(batch.changes, serial=int(time.time()))     # whenever the source says something
    zone.synced = True                                     # after the first batch
    udp = Responder(zone, recursion=True)                  # one for each listening socket
    match udp.answer(datagram):
        case None: ...                                     # no answer: drop it
        case bytes(reply): sock.sendto(reply, client)
        case Forward() as forward: ...                     # not ours, or not ours alone: see forward.py

An answer that was given once is kept, by the query's bytes, until the zone changes: the second time it costs one
look-up in a dictionary. Answers that take turns are kept as `Turning`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.dns.codes import AXFR, IXFR, REFUSED
from kproxy.dns.forward import Forward
from kproxy.dns.query import error_reply, read_query
from kproxy.dns.reply import Turning, write

if TYPE_CHECKING:
    from kproxy.dns.zone import Zone

MAX_KEPT = 20_000
"""Answers kept by one responder (about 300 octets each); when there are more, it begins anew."""

MAX_KEPT_REPLY = 4096
"""Replies longer than this are not kept, unless they take turns."""


class Kind(NamedTuple):
    """What answers are counted by: the query's type, the reply's rcode, both sizes in octets, and DO."""

    qtype: int
    rcode: int
    query_size: int
    reply_size: int
    dnssec_ok: bool


class _Kept:
    """An answer that is ready: `reply` (without its id), or else `turning`; how often it was given."""

    __slots__ = ("hits", "kind", "reply", "turning")

    def __init__(self, reply: bytes | None, turning: Turning | None, kind: Kind) -> None:
        self.reply = reply
        self.turning = turning
        self.kind = kind
        self.hits = 0


class Responder:
    """Answers the queries that come in by one socket. `recursion`: what is not ours is forwarded, and so we say."""

    def __init__(self, zone: Zone, *, tcp: bool = False, recursion: bool = False) -> None:
        self._zone = zone
        self._tcp = tcp
        self._recursion = recursion
        self._kept: dict[bytes, _Kept] = {}
        self._generation = -1
        self._counts: dict[Kind, int] = {}

    def answer(self, message: bytes) -> bytes | Forward | None:
        """Return the reply, None for silence, or what to ask of somebody else first. Never raises."""
        if self._zone.generation != self._generation:
            self._forget()
        kept = self._kept.get(message[2:])
        if kept is None:
            return self._work(message)
        kept.hits += 1
        reply = kept.reply
        return message[:2] + (reply if reply is not None else kept.turning.next())  # type: ignore[union-attr]

    def take_counts(self) -> dict[Kind, int]:
        """Return how many replies of which kind there were since the last call, without those that were forwarded."""
        self._collect()
        counts, self._counts = self._counts, {}
        return counts

    def _work(self, message: bytes) -> bytes | Forward | None:
        query = read_query(message, tcp=self._tcp)
        if query is None:
            return None
        if isinstance(query, bytes):
            return self._refusal(message, query)
        if query.qtype in (AXFR, IXFR):
            return self._refusal(message, error_reply(query, REFUSED, recursion=self._recursion))
        zone = self._zone
        answer = zone.find(query.key, query.starts, query.qtype)
        if answer is None:
            return Forward(query, query.key)
        if answer.pursue:
            return Forward(query, answer.pursue, answer.answer)
        made, again = write(query, answer, zone.serial, zone.config.ttl, recursion=self._recursion)
        kind = Kind(query.qtype, answer.rcode, len(message), len(made) + 2, bool(query.dnssec_ok))
        if isinstance(made, Turning):
            reply, kept = made.next(), _Kept(None, made, kind)
        else:
            reply, kept = made, _Kept(made, None, kind)
            again = again and len(made) <= MAX_KEPT_REPLY
        if again and query.plain:
            if len(self._kept) >= MAX_KEPT:
                self._forget()
            kept.hits = 1
            self._kept[message[2:]] = kept
        else:
            self._count(kind, 1)
        return message[:2] + reply

    def _refusal(self, message: bytes, reply: bytes) -> bytes:
        self._count(Kind(0, reply[3] & 15, len(message), len(reply), dnssec_ok=False), 1)
        return reply

    def _forget(self) -> None:
        """Drop all answers kept, but not how often they were given."""
        self._collect()
        self._kept = {}
        self._generation = self._zone.generation

    def _collect(self) -> None:
        for kept in self._kept.values():
            if kept.hits:
                self._count(kept.kind, kept.hits)
                kept.hits = 0

    def _count(self, kind: Kind, times: int) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + times
