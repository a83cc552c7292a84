"""What other servers said of names outside the zone, for as long as they allow, and a while longer for bad times.

Behaviour: RFC 2308 (negative answers), 8767 (stale ones), 9520 (failures). Bounded in entries and in octets; what was
not asked for longest goes first. Names of the cluster are never here: the watch knows better than any TTL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from kproxy.dns.upstream import Question, Response

STALE_TTL: Final = 30
"""The TTL of a stale answer, seconds (RFC 8767 section 4)."""

AGEING: Final = 0.1
"""The last part of an answer's time."""

_RECORD_COST: Final = 200
_ENTRY_COST: Final = 500
"""What Python needs for a record and for an entry beside their octets, roughly."""


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept and for how long. Times in seconds."""

    entries: int = 10_000
    octets: int = 16 * 1024 * 1024
    positive_s: float = 3600.0
    negative_s: float = 900.0
    failures: int = 2_000
    failure_s: float = 5.0
    stale_s: float = 86_400.0


class Kept(NamedTuple):
    """An answer from the cache. `age` in whole seconds, to be taken off the TTLs; `stale` if it has run out.

    `ageing`: most of its time is over, and it is asked for: whoever fetches it anew now lets nobody wait later.
    """

    response: Response
    age: int
    stale: bool
    ageing: bool = False


class Failure(NamedTuple):
    """Why there is no answer: the rcode for the client and an extended error code (RFC 8914)."""

    rcode: int
    reason: int | None = None


class _Entry(NamedTuple):
    response: Response
    since: float
    until: float
    cost: int


class OutsideCache:
    """Answers by question. Times are seconds of any clock that does not jump.

    Counts since it was made: `hits` by whether the answer was positive, `misses`, `evictions`, `stale` answers given.
    """

    def __init__(self, limits: CacheLimits | None = None) -> None:
        self.limits = limits or CacheLimits()
        self.hits = {True: 0, False: 0}
        self.misses = 0
        self.evictions = 0
        self.stale = 0
        self._entries: dict[Question, _Entry] = {}
        self._failures: dict[Question, tuple[Failure, float]] = {}
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> Kept | Failure | None:
        """Return what is known. A question that failed a moment ago fails again, or gets a stale answer."""
        entry = self._entries.get(question)
        if entry is not None and now < entry.until:
            # The order of the dict is the order of use.
            del self._entries[question]
            self._entries[question] = entry
            self.hits[not entry.response.negative] += 1
            ageing = now > entry.until - AGEING * (entry.until - entry.since)
            return Kept(entry.response, int(now - entry.since), stale=False, ageing=ageing)
        failure = self._failures.get(question)
        if failure is not None and now < failure[1]:
            self.hits[False] += 1
            return self.get_stale(question, now) or failure[0]
        self.misses += 1
        return None

    def get_stale(self, question: Question, now: float) -> Kept | None:
        """Return an answer that has run out, but not too long ago: for when nobody gives a better one."""
        entry = self._entries.get(question)
        if entry is None or now >= entry.until + self.limits.stale_s:
            return None
        self.stale += 1
        return Kept(entry.response, 0, stale=True)

    def put(self, question: Question, response: Response, now: float) -> None:
        """Keep an answer, if it may be kept."""
        self._failures.pop(question, None)
        ttl = response.ttl()
        seconds = min(ttl or 0, self.limits.negative_s if response.negative else self.limits.positive_s)
        cost = _cost(response)
        if seconds <= 0 or cost > self.limits.octets // 16:
            return
        if question in self._entries:
            self._drop(question)
        self._entries[question] = _Entry(response, now, now + seconds, cost)
        self._octets += cost
        while len(self._entries) > self.limits.entries or self._octets > self.limits.octets:
            self._drop(next(iter(self._entries)))
            self.evictions += 1

    def put_failure(self, question: Question, failure: Failure, now: float) -> None:
        """Keep a failure for a moment, so that those who ask again and again don't make things worse."""
        self._failures[question] = failure, now + self.limits.failure_s
        if len(self._failures) > self.limits.failures:
            del self._failures[next(iter(self._failures))]

    def _drop(self, question: Question) -> None:
        self._octets -= self._entries.pop(question).cost


def _cost(response: Response) -> int:
    return _ENTRY_COST + sum(_RECORD_COST + len(record.owner) + len(record.rdata) for record in response.records)
