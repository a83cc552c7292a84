"""Keeps a copy of one resource of the API server: what to ask next, and what an answer means. No I/O, no clock.

1. A streamed list first (KEP-3157), or pages of a list and then a watch where the server refuses that.
2. A watch goes on at the last version. Only when the server does not know that any more (410) there is a new list, and
   it is compared with what is held: nothing that was deleted meanwhile survives, nothing unchanged is a change.
3. Each phase of a request has a deadline; a stream without bookmarks is dead, whatever TCP thinks of it.
4. A failure waits, longer each time; lists wait by a series of their own, so that there is never more than one list
   in a delay. Failing to reach the server costs it nothing and is tried again soon. `hasten` cuts a wait short.

The shell asks `poll` for a request, makes it, and tells `connected`, `response`, `data` and `end`, or `lost`; `expired`
when `deadline` passes. Times are seconds of any clock that does not jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kproxy.kube.backoff import BackOff
from kproxy.kube.holding import Holding
from kproxy.kube.remedies import SERVER_WIDE, told
from kproxy.kube.requests import Phase, Purpose, Request, Timing
from kproxy.kube.stream import (
    Arrived,
    Bookmark,
    Failure,
    Gone,
    Refused,
    StreamBroken,
    WatchStream,
    read_list,
    read_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.errors import ObjectError
    from kproxy.kube.resources import Query, Resource
    from kproxy.kube.stream import Event
    from kproxy.sources.changes import Change

_PASSING = (401, 403, 429, 503)
"""Statuses that say nothing of streamed lists: lists would meet the same."""

_OURS = (401, 403)
"""Statuses of a server that works, but not for us."""

MAX_STATUS_BYTES = 64 * 1024
MAX_PAGE_BYTES = 1024 * 1024 * 1024


@dataclass(slots=True)
class _Answer:
    """The answer that is coming in: since when, of which status, and what of it must be read as a whole."""

    stream: WatchStream
    since: float = 0.0
    status: int = 0
    retry_after_s: float = 0.0
    objects: int = 0
    body: list[bytes] = field(default_factory=list)
    size: int = 0


class Reflector:
    """The state machine. `chance` returns a random number from 0 to 1.

    `synced` is True once there was a complete list, `lists` counts those that the server began to send. `trouble` says
    why nothing new comes at present ("" if it does), and `server_wide` whether the other resources meet the same.
    `status` is the HTTP status of the last answer (401: the credentials are old). `absent`: the server does not serve
    the resource, which is optional. `failing` is True from a failure to the next good answer, `ours` if it is our
    credentials or rights that the server does not accept, `patient` once it has not for longer than a server needs
    that has just started. What waits may be hastened from `try_from` on.
    """

    def __init__(self, resource: Resource, chance: Callable[[], float], timing: Timing | None = None) -> None:
        self.resource = resource
        self.timing = timing = timing or Timing()
        self.synced = False
        self.trouble = ""
        self.server_wide = False
        self.absent = False
        self.status = 0
        self.phase = Phase.IDLE
        self.deadline = 0.0
        self.start_at = float("-inf")
        self.try_from = float("-inf")
        self.failing = self.ours = self.patient = False
        self._ours_since = float("inf")
        self.lists = 0
        self._chance = chance
        self._holding = Holding(resource.kind)
        self._failures = BackOff(timing.failures)
        self._list_delays = BackOff(timing.lists)
        self._unreachable = BackOff(timing.unreachable)
        self._purpose = Purpose.WATCH
        self._answer = _Answer(WatchStream(resource.kind))
        self._version = ""
        self._continue = ""
        self._whole = False
        self._stream_lists_from = float("-inf")

    @property
    def problems(self) -> tuple[ObjectError, ...]:
        """The objects that are refused at present, in a stable order."""
        return tuple(error for _, error in sorted(self._holding.problems.items()))

    @property
    def idle(self) -> bool:
        """Whether there is no request under way: a connection that is still open is of no more use."""
        return self.phase is Phase.IDLE

    def take(self) -> tuple[Change, ...]:
        """Return what changed since the last call; an object that is as it was then is not among it.

        Until `synced` it is the beginning of what there is.
        """
        return self._holding.take()

    def holds(self, key: str) -> bool:
        """Tell whether there is such an object."""
        return key in self._holding

    def hasten(self, now: float) -> None:
        """Make a request that waits as soon as it may be made: the server works again, or somebody must find out."""
        self.start_at = min(self.start_at, max(now, self.try_from))

    # The request

    def poll(self, now: float) -> Request | None:
        """Return the request to make now, None before `start_at`."""
        if now < self.start_at:
            return None
        self._purpose = self._next_purpose(now)
        if self._purpose is not Purpose.WATCH and not self._continue:
            self._holding.begin()
        self.status = 0
        self._to(Phase.CONNECTING, now, self.timing.connect_s)
        return Request(self._purpose, self.resource.path, (*self.resource.selectors, *self._parameters()))

    def connected(self, now: float) -> None:
        """Note that the connection stands and the request is sent."""
        self._to(Phase.ASKED, now, self.timing.answer_s)

    def response(self, now: float, status: int, retry_after: str = "") -> None:
        """Take the answer's head: its status, and its Retry-After if it has one (seconds; a date is passed over)."""
        self._unreachable.reset()
        self.status = status
        retry_after_s = float(min(int(retry_after), 3600)) if retry_after.isascii() and retry_after.isdigit() else 0.0
        self._answer = _Answer(WatchStream(self.resource.kind), now, status, retry_after_s)
        if status == 200:
            self.failing = False
            self._ours_since = float("inf")
        if status != 200:
            self._to(Phase.REFUSED, now, self.timing.list_silence_s)
        elif self._purpose is Purpose.WATCH:
            self._works()
            self._to(Phase.WATCHING, now, self.timing.watch_silence_s)
        else:
            self.lists += not self._continue
            phase = Phase.INITIAL if self._purpose is Purpose.STREAMED_LIST else Phase.PAGE
            self._to(phase, now, self.timing.list_silence_s)

    def data(self, now: float, data: bytes) -> None:
        """Take some of the answer's body. Afterwards the reflector may be `idle`."""
        answer = self._answer
        match self.phase:
            case Phase.REFUSED | Phase.PAGE:
                self._to(self.phase, now, self.timing.list_silence_s)
                limit = MAX_PAGE_BYTES if self.phase is Phase.PAGE else MAX_STATUS_BYTES
                answer.size += len(data)
                if answer.size <= limit:
                    answer.body.append(data)
                elif self.phase is Phase.PAGE:
                    self._failed(now, "a list of more than 1 GiB")
                else:
                    self._refused(now)
            case Phase.INITIAL | Phase.WATCHING:
                initial = self.phase is Phase.INITIAL
                self._to(self.phase, now, self.timing.list_silence_s if initial else self.timing.watch_silence_s)
                self._events(now, data)
            case _:
                self._failed(now, "an answer that nobody asked for")

    def end(self, now: float) -> None:
        """Note that the answer ended as it should (its last chunk, or all of its length, came)."""
        match self.phase:
            case Phase.IDLE:
                pass
            case Phase.REFUSED:
                self._refused(now)
            case Phase.PAGE:
                self._page(now)
            case Phase.INITIAL | Phase.WATCHING:
                self._stream_end(now)
            case _:
                self._failed(now, "the server closed the connection")

    def lost(self, now: float, why: str, *, reached: bool = False) -> None:
        """Note that the connection could not be made, or broke; `why` in a few words.

        `reached`: the fault lies behind TCP (TLS, credentials), so it is not tried again as soon as otherwise.
        """
        if self.phase is Phase.REFUSED:
            self._refused(now)
        elif self.phase is not Phase.IDLE:
            connecting = self.phase is Phase.CONNECTING
            unreachable, ours = connecting and not reached, connecting and reached
            self._failed(now, why, unreachable=unreachable, ours=ours, cut=self.phase is Phase.WATCHING)

    def expired(self, now: float) -> None:
        """Note that `deadline` passed."""
        if self.phase is Phase.INITIAL:
            # A server that knows no streamed lists may send objects and then wait.
            self._stream_lists_from = now + self.timing.streamed_list_again_s
        if self.phase is Phase.REFUSED:
            self._refused(now)
        elif self.phase is not Phase.IDLE:
            self._failed(now, self.phase.value, unreachable=self.phase is Phase.CONNECTING)

    # What to ask

    def _next_purpose(self, now: float) -> Purpose:
        if self._version:
            return Purpose.WATCH
        if self._continue or self._whole or now < self._stream_lists_from:
            return Purpose.LIST
        return Purpose.STREAMED_LIST

    def _parameters(self) -> Query:
        if self._purpose is Purpose.LIST:
            if self._whole:
                return ()
            limit = ("limit", str(self.timing.page_limit))
            return (limit, ("continue", self._continue)) if self._continue else (limit,)
        watch = (
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(int(self.timing.watch_s * (1.0 + self._chance())))),
        )
        if self._purpose is Purpose.STREAMED_LIST:
            return (*watch, ("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan"))
        return (*watch, ("resourceVersion", self._version))

    # What came

    def _events(self, now: float, data: bytes) -> None:
        try:
            for event in self._answer.stream.feed(data):
                self._event(now, event)
                if self.phase is Phase.IDLE:
                    return
        except StreamBroken as error:
            # Nobody can say what was missed: only a list tells.
            self._failed(now, str(error), relist=True)

    def _event(self, now: float, event: Event) -> None:
        match event:
            case Failure():
                self._told(now, event)
                return
            case Bookmark():
                if event.initial_end and self.phase is Phase.INITIAL:
                    self._version = event.version
                    self._listed()
                    self._to(Phase.WATCHING, now, self.timing.watch_silence_s)
                    return
            case Arrived():
                self._holding.arrived(event)
                self._answer.objects += 1
            case Gone():
                self._holding.gone(event)
                self._answer.objects += 1
            case Refused():
                self._holding.refused(event)
                self._answer.objects += 1
        # The initial objects come in the order of their names, so only the bookmark says how far they go.
        if self.phase is Phase.WATCHING and event.version:
            self._version = event.version

    def _page(self, now: float) -> None:
        try:
            page = read_list(self.resource.kind, b"".join(self._answer.body))
        except StreamBroken as error:
            self._failed(now, str(error), relist=True)
            return
        for event in page.objects:
            if isinstance(event, Arrived):
                self._holding.arrived(event)
            else:
                self._holding.refused(event)
        self._continue = page.continue_token
        if not page.continue_token:
            if not page.version:
                self._failed(now, "a list without a resourceVersion", relist=True)
                return
            self._version = page.version
            self._listed()
        self._rest(now)

    def _listed(self) -> None:
        self._holding.finish()
        self._continue, self._whole = "", False
        self.synced, self.absent = True, False
        self._works()

    def _stream_end(self, now: float) -> None:
        answer = self._answer
        if answer.stream.in_line:
            self._failed(now, "the stream was cut in the middle of an event", cut=True)
        elif self.phase is Phase.INITIAL:
            self._without_streamed_lists(now, "the streamed list ended before its end")
        elif answer.objects or now - answer.since >= self.timing.short_watch_s:
            self._settle(now)
            self._rest(now)
        else:
            self._failed(now, "the watch ended at once")

    def _refused(self, now: float) -> None:
        answer = self._answer
        self._told(now, read_status(b"".join(answer.body), answer.status, answer.retry_after_s))

    def _told(self, now: float, failure: Failure) -> None:
        """Act on an error of the server's, whether it came as a status or in a stream."""
        code, said = failure.code, told(failure, self.resource)
        if code == 404 and self.resource.optional:
            self._not_served(now)
        elif code == 410 or failure.reason in ("Expired", "Gone"):
            # A list whose pages expire is too long for the server's compaction: ask for all of it at once.
            self._whole = self._purpose is Purpose.LIST
            self._failed(now, said, relist=True, retry_after_s=failure.retry_after_s, expected=True)
        elif self._means_streamed_lists(code):
            self._without_streamed_lists(now, said)
        else:
            relist = code in (400, 422) or "Too large resource version" in failure.message
            self._failed(now, said, relist=relist, retry_after_s=failure.retry_after_s)

    def _means_streamed_lists(self, code: int) -> bool:
        """Tell whether an error means: this server streams no lists, whatever the reason."""
        if self._purpose is not Purpose.STREAMED_LIST:
            return False
        if self.phase is Phase.INITIAL:
            return code not in _PASSING  # 500: its etcd is too old for that
        return self.phase is Phase.REFUSED and code in (400, 405, 415, 422, 501)

    # What follows

    def _without_streamed_lists(self, now: float, why: str) -> None:
        """Ask for pages from now on: at once where nothing was listed yet."""
        self._stream_lists_from = now + self.timing.streamed_list_again_s
        if self._answer.objects:
            self._failed(now, why)
        else:
            self._holding.abandon()
            self._rest(now)

    def _not_served(self, now: float) -> None:
        """Take it for an empty list: an older server has no such objects. An upgrade is noticed in a while."""
        self._version = self._continue = ""
        self._holding.begin()
        self._listed()
        self.absent = True
        self.phase = Phase.IDLE
        self.start_at = now + self.timing.absent_again_s

    def _to(self, phase: Phase, now: float, patience_s: float) -> None:
        self.phase = phase
        self.deadline = now + patience_s

    def _rest(self, now: float) -> None:
        """Make the next request at once."""
        self.phase = Phase.IDLE
        self.start_at = now

    def _works(self) -> None:
        self.trouble = ""

    def _settle(self, now: float) -> None:
        """Forget the failures before an answer that went well for longer than they made it wait."""
        if self._answer.status == 200 and self.phase in (Phase.INITIAL, Phase.WATCHING):
            lasted = now - self._answer.since
            if lasted >= max(self.timing.settled_s, 2 * self._failures.last_s):
                self._failures.reset()
            if lasted >= max(self.timing.lists_settled_s, 2 * self._list_delays.last_s):
                self._list_delays.reset()

    def _failed(
        self,
        now: float,
        why: str,
        *,
        relist: bool = False,
        retry_after_s: float = 0.0,
        unreachable: bool = False,
        expected: bool = False,
        ours: bool = False,
        cut: bool = False,
    ) -> None:
        """Wait, then go on at the last version, or `relist`; a page that did not come is asked for again.

        `expected`: no failure of the server's; only lists wait for each other. `ours`: the server is well. `cut`: it
        had taken the watch, and something broke the stream.
        """
        self._settle(now)
        delay_s = least_s = 0.0
        series = self._unreachable if unreachable else self._failures
        if not expected:
            delay_s = series.next_s(self._chance())
        if cut:
            delay_s = min(delay_s, self.timing.resume_s * (0.5 + 0.5 * self._chance()))
        if relist:
            self._version = self._continue = ""
        if not self._version and not self._continue:
            self._holding.abandon()
            # What was refused at the door was no list.
            if self.phase is not Phase.CONNECTING and self.status not in _PASSING:
                least_s = self._list_delays.next_s(self._chance())
        if retry_after_s > max(delay_s, least_s):
            # All clients were told the same: do not come back together.
            least_s = retry_after_s * (1.0 + 0.1 * self._chance())
        if not expected:
            self.failing = True
            if series.failures > 1 or unreachable or not self.synced or self.phase is Phase.REFUSED:
                self.trouble = why
                self.server_wide = self.status in SERVER_WIDE
        self.ours = ours or self.status in _OURS
        self._ours_since = min(self._ours_since, now) if self.ours else float("inf")
        self.patient = now >= self._ours_since + self.timing.start_up_s
        self.try_from = now + least_s
        self.phase = Phase.IDLE
        self.start_at = now + max(delay_s, least_s)
