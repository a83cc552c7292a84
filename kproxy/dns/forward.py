"""A query that somebody else has to answer, or (a CNAME that leaves the zone) has to answer the rest of.

::

    response = cache.get(forward.question) or read_response(await ask(forward.question.message(id)), forward.question)
    reply = forward.complete(response, age=seconds_in_cache)      # the bytes for the client
    reply = forward.fail(NO_REACHABLE_AUTHORITY)                  # or, if nobody answered

The reply is cut to the client's limit and spelt as the client asked; it is to be sent as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kproxy.dns.codes import AA, CD, QR, RA, RD, SERVFAIL
from kproxy.dns.query import Query, error_reply, opt
from kproxy.dns.reply import Writer
from kproxy.dns.upstream import Question

if TYPE_CHECKING:
    from kproxy.dns.records import RRset
    from kproxy.dns.upstream import Response

STALE_ANSWER: Final = 3
NO_REACHABLE_AUTHORITY: Final = 22
NETWORK_ERROR: Final = 23
"""Extended error codes (RFC 8914)."""


class Forward:
    """What to ask (`question`), and how the client's reply is made of the answer.

    `query` is the client's; `ours` says that the answer begins with a record of the zone.
    """

    __slots__ = ("_chain", "query", "question")

    def __init__(self, query: Query, name: bytes, chain: tuple[RRset, ...] = ()) -> None:
        self.query = query
        self.question = Question(name, query.qtype, bool(query.dnssec_ok), bool(query.flags & CD))
        self._chain = chain

    @property
    def ours(self) -> bool:
        """Whether the answer begins with a record of our own zone."""
        return bool(self._chain)

    def complete(self, response: Response, *, age: int = 0, ttl: int | None = None, reason: int | None = None) -> bytes:
        """Return the client's reply.

        `age` is for how many seconds the response was kept: the TTLs are smaller by as much. With `ttl` all have
        that one (a stale answer). `reason` is an extended error code for who speaks EDNS.
        """
        query = self.query
        tail = opt(query, 0, reason)
        writer = Writer(query, len(tail))
        for rrset in self._chain:
            writer.put_rrset(rrset, b"")
        for section, records in enumerate((response.answer, response.authority, response.additional)):
            for record in records:
                writer.put_record(section, record, max(0, record.ttl - age) if ttl is None else ttl)
        if response.truncated:
            writer.truncated = True
        flags = QR | RA | (query.flags & (RD | CD)) | (AA if self._chain else 0) | response.rcode
        return query.message[:2] + writer.message(flags, tail)

    def fail(self, reason: int | None = None, rcode: int = SERVFAIL) -> bytes:
        """Return the reply that says that there is no answer. `reason` is an extended error code."""
        return error_reply(self.query, rcode, recursion=True, reason=reason)
