"""The objects of one resource as the API server has them, and what changed since somebody asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.sources.changes import Change

if TYPE_CHECKING:
    from kproxy.errors import ObjectError
    from kproxy.kube.stream import Arrived, Gone, Refused
    from kproxy.kube.wire import KubeObject


class Holding:
    """Takes events in, and keeps the last good version of what is refused.

    Between `begin` and `finish` the events are a list from scratch: only `finish` compares it with what is held, so a
    list that breaks off (`abandon`) changes nothing.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.objects: dict[str, KubeObject] = {}
        self.problems: dict[str, ObjectError] = {}
        # key -> the object when changes were last taken, for those that may differ by now
        self._before: dict[str, KubeObject | None] = {}
        self._fresh: dict[str, KubeObject] | None = None
        self._fresh_problems: dict[str, ObjectError] = {}

    def begin(self) -> None:
        """Begin a list from scratch."""
        self._fresh, self._fresh_problems = {}, {}

    def abandon(self) -> None:
        """Forget a list that did not get finished."""
        self._fresh, self._fresh_problems = None, {}

    def finish(self) -> None:
        """Take the list for what there is: what is held and not in it has gone."""
        fresh, problems = self._fresh or {}, self._fresh_problems
        self.abandon()
        # One that nobody can name may be any of those that are held.
        nameless = "" in problems
        for key in [key for key in self.objects if key not in fresh and key not in problems and not nameless]:
            self._set(key, None)
        for key, obj in fresh.items():
            self._set(key, obj)
        self.problems = problems

    def arrived(self, event: Arrived) -> None:
        """Take an object."""
        if self._fresh is not None:
            self._fresh[event.key] = event.obj
            self._fresh_problems.pop(event.key, None)
        else:
            self._set(event.key, event.obj)
            self.problems.pop(event.key, None)

    def gone(self, event: Gone) -> None:
        """Take the news that an object is gone."""
        if self._fresh is not None:
            self._fresh.pop(event.key, None)
            self._fresh_problems.pop(event.key, None)
        else:
            self._set(event.key, None)
            self.problems.pop(event.key, None)

    def refused(self, event: Refused) -> None:
        """Take the news that an object can't be used."""
        if self._fresh is not None:
            self._fresh_problems[event.key] = event.error
        else:
            self.problems[event.key] = event.error

    def take(self) -> tuple[Change, ...]:
        """Return what differs from the last call, one change per object."""
        before, self._before = self._before, {}
        return tuple(
            Change(self.kind, key, now) for key, was in before.items() if (now := self.objects.get(key)) != was
        )

    def _set(self, key: str, obj: KubeObject | None) -> None:
        held = self.objects.get(key)
        if obj == held:
            return
        self._before.setdefault(key, held)
        if obj is None:
            del self.objects[key]
        else:
            self.objects[key] = obj
