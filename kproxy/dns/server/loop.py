"""The worker's event loop: epoll, and timers. asyncio's costs a third of the queries a second (docs/decisions)."""

from __future__ import annotations

import heapq
import logging
import select
import time
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
GONE: Final = select.EPOLLHUP | select.EPOLLERR
"""The other side is not there any more; told whether asked for or not."""


class Timer:
    """A call at a time to come; `cancel` it where it isn't needed any more."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Never mind. Also after it was called."""
        self.call = None


class Loop:
    """Calls whom it concerns, one after the other. `now` is the time of this turn, in seconds that never jump.

    A call that raises is logged, and the others go on.
    """

    def __init__(self) -> None:
        self.now = time.monotonic()
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._forgotten: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._number = count()
        self._running = True

    def watch(self, fd: int, call: Callable[[int], None], events: int = READ) -> None:
        """Call `call(events)` whenever the descriptor is ready: READ, WRITE, or an error."""
        self._calls[fd] = call
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events from now on."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch a descriptor no longer. To be called before it is closed."""
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._forgotten.add(fd)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call once, so many seconds from now."""
        timer = Timer(self.now + seconds, call)
        heapq.heappush(self._timers, (timer.when, next(self._number), timer))
        return timer

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call again and again, for as long as the loop runs."""

        def again() -> None:
            self.after(seconds, again)
            call()

        self.after(seconds, again)

    def run(self) -> None:
        """Run until `stop`."""
        poll, calls, forgotten, clock = self._epoll.poll, self._calls, self._forgotten, time.monotonic
        while self._running:
            ready = poll(self._wait_s())
            self.now = clock()
            forgotten.clear()
            for fd, events in ready:
                call = calls.get(fd)
                if call is None or fd in forgotten:
                    continue  # closed by one that was called before it, and perhaps another socket's number by now
                try:
                    call(events)
                except Exception:  # the task boundary: one client must not take the others' server with it
                    log.exception("a call failed")
            self._due()

    def stop(self) -> None:
        """Return from `run` at the end of this turn."""
        self._running = False

    def _wait_s(self) -> float:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _due(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                try:
                    call()
                except Exception:  # as above
                    log.exception("a timer failed")
