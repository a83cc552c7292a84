"""Keeps a copy of one resource of the API server: what to ask next, and what an answer means. No I/O, no clock.

1. A streamed list first (KEP-3157), or pages of a list and then a watch where the server refuses that.
2. A watch goes on at the last version. Only when the server does not know that any more (410) there is a new list, and
   it is compared with what is held: nothing that was deleted meanwhile survives, nothing unchanged is a change.
3. Each phase of a request has a deadline; a stream without bookmarks is dead, whatever TCP thinks of it.
4. A failure waits (`waits`), and goes on where it was.

The shell asks `poll` for a request, makes it, and tells `connected`, `response`, `data` and `end`, or `lost`; `expired`
when `deadline` passes. Times are seconds of any clock that does not jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kproxy.kube.holding import Holding
from kproxy.kube.position import Position
from kproxy.kube.remedies import PASSING, Meaning, meaning, told
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
from kproxy.kube.waits import Fault, Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.errors import ObjectError
    from kproxy.kube.resources import Resource
    from kproxy.kube.stream import Event
    from kproxy.sources.changes import Change

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


class Reflector(Waits):
    """The state machine. `chance` returns a random number from 0 to 1.

    `synced` is True once there was a complete list, `lists` counts those that the server began to send. `status` is the
    HTTP status of the last answer (401: the credentials are old). `absent`: the server does not serve the resource,
    which is optional.
    """

    def __init__(self, resource: Resource, chance: Callable[[], float], timing: Timing | None = None) -> None:
        super().__init__(chance, timing or Timing())
        self.resource = resource
        self.synced = False
        self.absent = False
        self.status = 0
        self.phase = Phase.IDLE
        self.deadline = 0.0
        self.lists = 0
        self._holding = Holding(resource.kind)
        self._position = Position(self.timing)
        self._purpose = Purpose.WATCH
        self._answer = _Answer(WatchStream(resource.kind))

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

    # The request

    def poll(self, now: float) -> Request | None:
        """Return the request to make now, None before `start_at`."""
        if now < self.start_at:
            return None
        self._purpose = self._position.purpose(now)
        if self._position.lost:
            self._holding.begin()
        self.status = 0
        self._to(Phase.CONNECTING, now, self.timing.connect_s)
        query = self._position.query(self._purpose, self._chance())
        return Request(self._purpose, self.resource.path, (*self.resource.selectors, *query))

    def connected(self, now: float) -> None:
        """Note that the connection stands and the request is sent."""
        self._to(Phase.ASKED, now, self.timing.answer_s)

    def response(self, now: float, status: int, retry_after: str = "") -> None:
        """Take the answer's head: its status, and its Retry-After if it has one (seconds; a date is passed over)."""
        self.reached()
        self.status = status
        retry_after_s = float(min(int(retry_after), 3600)) if retry_after.isascii() and retry_after.isdigit() else 0.0
        self._answer = _Answer(WatchStream(self.resource.kind), now, status, retry_after_s)
        if status == 200:
            self.accepted()
        if status != 200:
            self._to(Phase.REFUSED, now, self.timing.list_silence_s)
        elif self._purpose is Purpose.WATCH:
            self.trouble = ""
            self._to(Phase.WATCHING, now, self.timing.watch_silence_s)
        else:
            self.lists += not self._position.paging
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
                    self._failed(now, Fault("a list of more than 1 GiB"))
                else:
                    self._refused(now)
            case Phase.INITIAL | Phase.WATCHING:
                initial = self.phase is Phase.INITIAL
                self._to(self.phase, now, self.timing.list_silence_s if initial else self.timing.watch_silence_s)
                self._events(now, data)
            case _:
                self._failed(now, Fault("an answer that nobody asked for"))

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
                self._failed(now, Fault("the server closed the connection"))

    def lost(self, now: float, why: str, *, reached: bool = False) -> None:
        """Note that the connection could not be made, or broke; `why` in a few words.

        `reached`: the fault lies behind TCP (TLS, credentials), so it is not tried again as soon as otherwise.
        """
        if self.phase is Phase.REFUSED:
            self._refused(now)
        elif self.phase is not Phase.IDLE:
            connecting = self.phase is Phase.CONNECTING
            unreachable, ours = connecting and not reached, connecting and reached
            self._failed(now, Fault(why, unreachable=unreachable, ours=ours, cut=self.phase is Phase.WATCHING))

    def expired(self, now: float) -> None:
        """Note that `deadline` passed."""
        if self.phase is Phase.INITIAL:
            # A server that knows no streamed lists may send objects and then wait.
            self._position.no_streamed_lists(now)
        if self.phase is Phase.REFUSED:
            self._refused(now)
        elif self.phase is not Phase.IDLE:
            self._failed(now, Fault(self.phase.value, unreachable=self.phase is Phase.CONNECTING))

    # What came

    def _events(self, now: float, data: bytes) -> None:
        try:
            for event in self._answer.stream.feed(data):
                self._event(now, event)
                if self.phase is Phase.IDLE:
                    return
        except StreamBroken as error:
            self._failed(now, Fault(str(error), relist=True))

    def _event(self, now: float, event: Event) -> None:
        match event:
            case Failure():
                self._told(now, event)
                return
            case Bookmark():
                if event.initial_end and self.phase is Phase.INITIAL:
                    self._position.version = event.version
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
            self._position.version = event.version

    def _page(self, now: float) -> None:
        try:
            page = read_list(self.resource.kind, b"".join(self._answer.body))
        except StreamBroken as error:
            self._failed(now, Fault(str(error), relist=True))
            return
        for event in page.objects:
            if isinstance(event, Arrived):
                self._holding.arrived(event)
            else:
                self._holding.refused(event)
        self._position.page(page.continue_token)
        if not page.continue_token:
            if not page.version:
                self._failed(now, Fault("a list without a resourceVersion", relist=True))
                return
            self._position.version = page.version
            self._listed()
        self._rest(now)

    def _listed(self) -> None:
        self._holding.finish()
        self._position.listed()
        self.synced, self.absent = True, False
        self.trouble = ""

    def _stream_end(self, now: float) -> None:
        answer = self._answer
        if answer.stream.in_line:
            self._failed(now, Fault("the stream was cut in the middle of an event", cut=True))
        elif self.phase is Phase.INITIAL:
            self._without_streamed_lists(now, "the streamed list ended before its end")
        elif answer.objects or now - answer.since >= self.timing.short_watch_s:
            self._settle(now)
            self._rest(now)
        else:
            self._failed(now, Fault("the watch ended at once"))

    def _refused(self, now: float) -> None:
        answer = self._answer
        self._told(now, read_status(b"".join(answer.body), answer.status, answer.retry_after_s))

    def _told(self, now: float, failure: Failure) -> None:
        """Act on an error of the server's, whether it came as a status or in a stream."""
        why, after_s = told(failure, self.resource), failure.retry_after_s
        match meaning(failure, self.resource, self._purpose, self.phase):
            case Meaning.NOT_SERVED:
                self._not_served(now)
            case Meaning.EXPIRED:
                if self._purpose is Purpose.LIST:
                    self._position.whole_list()
                self._failed(now, Fault(why, relist=True, retry_after_s=after_s, expected=True))
            case Meaning.NO_STREAMED_LISTS:
                self._without_streamed_lists(now, why)
            case Meaning.BAD_VERSION:
                self._failed(now, Fault(why, relist=True, retry_after_s=after_s))
            case Meaning.FAILURE:
                self._failed(now, Fault(why, retry_after_s=after_s))

    # What follows

    def _without_streamed_lists(self, now: float, why: str) -> None:
        """Ask for pages from now on: at once where nothing was listed yet."""
        self._position.no_streamed_lists(now)
        if self._answer.objects:
            self._failed(now, Fault(why))
        else:
            self._holding.abandon()
            self._rest(now)

    def _not_served(self, now: float) -> None:
        """Take it for an empty list: an older server has no such objects. An upgrade is noticed in a while."""
        self._position.forget()
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

    def _settle(self, now: float) -> None:
        if self._answer.status == 200 and self.phase in (Phase.INITIAL, Phase.WATCHING):
            self.lasted(now - self._answer.since)

    def _failed(self, now: float, fault: Fault) -> None:
        """Wait, then go on at the last version, or with a list; a page that did not come is asked for again."""
        self._settle(now)
        if fault.relist:
            self._position.forget()
        lost = self._position.lost
        if lost:
            self._holding.abandon()
        # What was refused at the door was no list.
        listing = lost and self.phase is not Phase.CONNECTING and self.status not in PASSING
        tell = not self.synced or self.phase is Phase.REFUSED
        self.wait(now, fault, self.status, listing=listing, tell=tell)
        self.phase = Phase.IDLE
