"""Answers that are ready, by the octets of the query behind its id. Bounded, and cheap to count.

There are two generations: what is in use moves from the older one to the recent one, and when that is full, what is
left in the older one goes. So names that are asked for once do not push out those that are asked for again and again.
A change in the cluster takes those away that depend on what it touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from kproxy.dns.reply import Turning

MOST = 25_000
"""Answers in one generation (about 350 octets each)."""

MOST_OCTETS = 16 * 1024 * 1024
"""Octets of queries and replies in one generation: clients choose how long both are."""

MOST_KINDS = 5_000
"""Kinds that are told apart at a time: clients choose types and sizes."""


class Kind(NamedTuple):
    """What answers are counted by: the query's type, the reply's rcode, both sizes in octets, DO, and who answered."""

    qtype: int
    rcode: int
    query_size: int
    reply_size: int
    dnssec_ok: bool
    source: str = "kubernetes"


class Count:
    """How often answers of one kind were given."""

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times = 0


Kept = tuple["bytes | Turning", Count, bytes | None]
"""A reply without its id, or what makes the next one; where to count it; and the key of the Service that it depends on,
b"" for none, None for what may depend on anything."""


class KeptAnswers:
    """The answers of one responder. `recent` is for who is in a hurry; whoever takes one from it counts it."""

    def __init__(self, most: int = MOST, most_octets: int = MOST_OCTETS) -> None:
        self.recent: dict[bytes, Kept] = {}
        self._older: dict[bytes, Kept] = {}
        self._brief: list[bytes] = []
        self._depending: dict[bytes | None, list[bytes]] = {}
        self._most = most
        self._most_octets = most_octets
        self._octets = 0
        self._counts: dict[Kind, Count] = {}

    def __len__(self) -> int:
        return len(self.recent) + len(self._older)

    def find(self, query: bytes) -> Kept | None:
        """Return what is kept for a query (without its id)."""
        kept = self.recent.get(query)
        if kept is None:
            kept = self._older.pop(query, None)
            if kept is not None:
                self._keep(query, kept)
        return kept

    def put(
        self, query: bytes, reply: bytes | Turning, kind: Kind, depends: bytes | None, *, briefly: bool = False
    ) -> None:
        """Keep a reply, `briefly` until the next `forget_brief`."""
        if briefly:
            self._brief.append(query)
            depends = b""  # whatever changes, it goes
        self._keep(query, (reply, self.count(kind), depends))

    def count(self, kind: Kind) -> Count:
        """Return the counter of a kind."""
        count = self._counts.get(kind)
        if count is None:
            if len(self._counts) >= MOST_KINDS:
                kind = kind._replace(qtype=0, query_size=0, reply_size=0)
            count = self._counts.setdefault(kind, Count())
        return count

    def take_counts(self) -> dict[Kind, int]:
        """Return how many answers of which kind were given since the last call."""
        taken = {kind: count.times for kind, count in self._counts.items() if count.times}
        for count in self._counts.values():
            count.times = 0
        if len(self._counts) >= MOST_KINDS:
            # The answers hold on to their counters.
            self.forget()
            self._counts = {}
        return taken

    def drop(self, changed: AbstractSet[bytes] | None) -> None:
        """Drop the answers that depend on one of these Services, or may; None: drop all."""
        if changed is None:
            self.forget()
            return
        self.forget_brief()
        for key in (None, *changed):
            for query in self._depending.pop(key, ()):
                self.recent.pop(query, None)
                self._older.pop(query, None)

    def forget(self) -> None:
        """Drop all answers, but not how often they were given."""
        self.recent, self._older, self._brief, self._depending = {}, {}, [], {}
        self._octets = 0

    def forget_brief(self) -> None:
        """Drop those that are kept briefly."""
        for query in self._brief:
            self.recent.pop(query, None)
            self._older.pop(query, None)
        self._brief = []

    def _keep(self, query: bytes, kept: Kept) -> None:
        reply = kept[0]
        # What others took away in between counts until then; records that take turns are the zone's.
        self._octets += len(query) + len(reply if isinstance(reply, bytes) else reply.head)
        if len(self.recent) >= self._most or self._octets > self._most_octets:
            self._older, self.recent = self.recent, {}
            self._depending, self._octets = {}, 0
            for old, (_, _, depends) in self._older.items():
                self._note(old, depends)
        self.recent[query] = kept
        self._note(query, kept[2])

    def _note(self, query: bytes, depends: bytes | None) -> None:
        """Remember which answers a Service's change takes away; some of those may be gone already."""
        if depends != b"":
            self._depending.setdefault(depends, []).append(query)
