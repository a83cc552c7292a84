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

An answer that was given once is kept, by the query's bytes, until what it depends on changes: the second time it costs
one look-up in a dictionary. Answers that take turns are kept as `Turning`. So the SOA that goes with a negative answer
has the serial of when that was made; the answer to a question for the SOA itself is never older than the zone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kproxy.dns.codes import AXFR, CNAME, IXFR, NOERROR, NXDOMAIN, REFUSED
from kproxy.dns.forward import Forward
from kproxy.dns.kept import KeptAnswers, Kind
from kproxy.dns.query import Query, error_reply, read_query
from kproxy.dns.reply import Turning, write
from kproxy.dns.transfer import transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.dns.zone import Zone

MAX_KEPT_REPLY = 4096
"""Replies longer than this are not kept, unless they take turns."""

CACHE: Final = "cache"
"""Who answers what `keep_briefly` was given."""


class Responder:
    """Answers the queries that come in by one socket. `recursion`: what is not ours is forwarded, and so we say."""

    def __init__(self, zone: Zone, *, tcp: bool = False, recursion: bool = False) -> None:
        self._zone = zone
        self._tcp = tcp
        self._recursion = recursion
        self._kept = KeptAnswers()
        self._generation = -1

    def answer(self, message: bytes) -> bytes | Forward | None:
        """Return the reply, None for silence, or what to ask of somebody else first. Never raises."""
        return self.answer_all([message])[0]

    def answer_all(self, messages: list[bytes]) -> list[bytes | Forward | None]:
        """Return what `answer` would for each message."""
        if self._zone.generation != self._generation:
            self._kept.drop(self._zone.changed_since(self._generation))
            self._generation = self._zone.generation
        get, work = self._kept.recent.get, self._work
        replies: list[bytes | Forward | None] = []
        add = replies.append
        for message in messages:
            kept = get(message[2:])
            if kept is None:
                add(work(message))
                continue
            reply, count, _ = kept
            count.times += 1
            add(message[:2] + (reply if type(reply) is bytes else reply.next()))  # type: ignore[union-attr]
        return replies

    def transfer(self, message: bytes) -> Iterator[bytes] | None:
        """Return what answers a query for the whole zone, None for any other; only over TCP, to who may have it.

        `answer` refuses it. Going on raises `ZoneChanged` when the zone is not any more what it was at the beginning.
        """
        query = read_query(message, tcp=True)
        if not isinstance(query, Query) or query.qtype not in (AXFR, IXFR):
            return None
        if query.key != self._zone.authority.name or not self._zone.synced:
            return None
        self._kept.count(Kind(query.qtype, NOERROR, len(message), 0, bool(query.dnssec_ok))).times += 1
        return transfer(query, self._zone)

    def keep_briefly(self, forward: Forward, reply: bytes) -> None:
        """Give this reply to the same query again, until `forget_brief`: its TTLs are right for a moment.

        Not one that says that there is no answer: that may be so for this client only.
        """
        query, rcode = forward.query, reply[3] & 15
        if query.plain and rcode in (NOERROR, NXDOMAIN) and len(reply) <= MAX_KEPT_REPLY:
            kind = Kind(query.qtype, rcode, len(query.message), len(reply), bool(query.dnssec_ok), CACHE)
            depends = None if forward.ours else self._zone.depends_on(query.key, query.starts)
            self._kept.put(query.message[2:], reply[2:], kind, depends, briefly=True)

    def forget_brief(self) -> None:
        """Drop the replies of `keep_briefly`."""
        self._kept.forget_brief()

    def take_counts(self) -> dict[Kind, int]:
        """Return how many replies of which kind there were since the last call, without those that were forwarded."""
        return self._kept.take_counts()

    def _work(self, message: bytes) -> bytes | Forward | None:
        kept = self._kept.find(message[2:])
        if kept is not None:
            reply, count, _ = kept
            count.times += 1
            return message[:2] + (reply if isinstance(reply, bytes) else reply.next())
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
        self._kept.count(kind).times += 1
        if again and query.plain and (len(made) <= MAX_KEPT_REPLY or isinstance(made, Turning)):
            led_on = bool(answer.answer) and answer.answer[0].type == CNAME
            depends = None if led_on else zone.depends_on(query.key, query.starts)
            self._kept.put(message[2:], made, kind, depends)
        return message[:2] + (made.next() if isinstance(made, Turning) else made)

    def _refusal(self, message: bytes, reply: bytes) -> bytes:
        kind = Kind(0, reply[3] & 15, len(message), len(reply), dnssec_ok=False)
        self._kept.count(kind).times += 1
        return reply
