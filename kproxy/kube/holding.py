"""What the API server has of one resource, and what changed since somebody asked. The objects themselves are passed on.

Of what was passed on only a fingerprint is kept: enough to tell what is new in a list from scratch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.sources.changes import Change

if TYPE_CHECKING:
    from kproxy.errors import ObjectError
    from kproxy.kube.stream import Arrived, Gone, Refused
    from kproxy.kube.wire import KubeObject

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Holding:
    """Takes events in, and keeps to the last good version of what is refused.

    Between `begin` and `finish` the events are a list from scratch: only `finish` compares it with what is held, so a
    list that breaks off (`abandon`) changes nothing. The very first list is different: there is nothing to compare
    with, so its objects are passed on as they come, and `finish` takes back what an earlier, unfinished try had more.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.problems: dict[str, ObjectError] = {}
        self._held: dict[str, int] = {}
        # For those that may have changed since that was last asked: the fingerprint then, and the object now.
        self._before: dict[str, int | None] = {}
        self._news: dict[str, KubeObject | None] = {}
        self._filled = False
        # key -> the object, None if it is as held
        self._listed: dict[str, KubeObject | None] | None = None
        self._listed_problems: dict[str, ObjectError] = {}

    def __contains__(self, key: str) -> bool:
        """Tell whether there is such an object."""
        return key in self._held

    def begin(self) -> None:
        """Begin a list from scratch."""
        self._listed, self._listed_problems = {}, {}

    def abandon(self) -> None:
        """Forget a list that did not get finished."""
        self._listed, self._listed_problems = None, {}

    def finish(self) -> None:
        """Take the list for what there is: what is held and not in it has gone."""
        listed, problems = self._listed or {}, self._listed_problems
        self.abandon()
        self._filled = True
        # One that nobody can name may be any of those that are held.
        nameless = "" in problems
        for key in [key for key in self._held if key not in listed and key not in problems and not nameless]:
            self._set(key, None)
        for key, obj in listed.items():
            if obj is not None:
                self._set(key, obj)
        self.problems = problems

    def arrived(self, event: Arrived) -> None:
        """Take an object."""
        if self._listed is None:
            self._set(event.key, event.obj)
            self.problems.pop(event.key, None)
            return
        self._listed_problems.pop(event.key, None)
        if not self._filled:
            self._set(event.key, event.obj)
            self._listed[event.key] = None
        else:
            same = self._held.get(event.key) == fingerprint(event.obj)
            self._listed[event.key] = None if same else event.obj

    def gone(self, event: Gone) -> None:
        """Take the news that an object is gone."""
        if self._listed is not None:
            self._listed.pop(event.key, None)
            self._listed_problems.pop(event.key, None)
        else:
            self._set(event.key, None)
            self.problems.pop(event.key, None)

    def refused(self, event: Refused) -> None:
        """Take the news that an object can't be used."""
        if self._listed is not None:
            self._listed_problems[event.key] = event.error
        else:
            self.problems[event.key] = event.error

    def take(self) -> tuple[Change, ...]:
        """Return what differs from the last call, one change per object."""
        before, news = self._before, self._news
        self._before, self._news = {}, {}
        return tuple(Change(self.kind, key, news[key]) for key, was in before.items() if self._held.get(key) != was)

    def _set(self, key: str, obj: KubeObject | None) -> None:
        held, now = self._held.get(key), None if obj is None else fingerprint(obj)
        if held == now:
            return
        self._before.setdefault(key, held)
        self._news[key] = obj
        if now is None:
            del self._held[key]
        else:
            self._held[key] = now


def fingerprint(obj: KubeObject) -> int:
    """Return a number of 64 bits that tells objects apart; it is another one in each process."""
    return hash(_encode(obj))
