"""Calls that may block for ever (a tool, the kernel, a plugin, a file, the resolver), beside the event loop.

Their threads do not keep the process from ending; those of `asyncio.to_thread`, and of asyncio's own look-ups, would.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

log = logging.getLogger(__name__)

AGAIN_S = 1.0
"""How often a thread is tried to be started that can't be."""


class Calls:
    """Runs calls in threads, and knows which have not ended. A thread that is done with one takes the next.

    Where no thread can be started, a call waits until one can.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()
        self._idle: list[_Worker] = []

    def __del__(self) -> None:
        """Let the threads end."""
        for worker in self._idle:
            worker.dismiss()

    def start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Begin a call; the future has what it returns or raises. To cancel it does not end the call."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is seen, if by nobody else
        self._running.add(future)
        self._begin(call, future)
        return future

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises. Cancelled, it leaves the call to itself."""
        return await asyncio.shield(self.start(call))

    async def ended(self, patience_s: float) -> bool:
        """Wait for all calls to end, for so long at most; tell whether they have."""
        if self._running:
            await asyncio.wait(self._running, timeout=patience_s)
        return not self._running

    def _begin(self, call: Callable[[], T], future: asyncio.Future[T], *, again: bool = False) -> None:
        if future.done():  # cancelled while it waited
            self._running.discard(future)
            return
        try:
            worker = self._idle.pop() if self._idle else _Worker()
        except RuntimeError as error:  # the node has no process or no memory left, for now
            if not again:
                log.warning("%s: trying again until one starts", error)
            asyncio.get_running_loop().call_later(AGAIN_S, partial(self._begin, call, future, again=True))
            return
        worker.take(call, lambda result, error: self._ended(worker, future, result, error))

    def _ended(self, worker: _Worker, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._running.discard(future)
        self._idle.append(worker)
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


_Call = tuple[asyncio.AbstractEventLoop, "Callable[[], Any]", "Callable[[Any, BaseException | None], None]"]


class _Worker:
    """A thread that waits for calls."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._run, name="kproxy-call", daemon=True).start()

    def take(self, call: Callable[[], Any], ended: Callable[[Any, BaseException | None], None]) -> None:
        """Do a call, then call `ended` in the event loop."""
        self._calls.put((asyncio.get_running_loop(), call, ended))

    def dismiss(self) -> None:
        """Let the thread end."""
        self._calls.put(None)

    def _run(self) -> None:
        while (taken := self._calls.get()) is not None:
            loop, call, ended = taken
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001 - it is raised again where the result is waited for
                error = raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(ended, result, error)
            del taken, call, ended, result, error  # until the next call nothing of this one is kept


def in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """Begin a single call in a thread; the future has what it returns or raises. To cancel it does not end the call."""
    return Calls().start(call)


class _Loop(asyncio.SelectorEventLoop):
    """The event loop, which looks names up in such a thread."""

    async def getaddrinfo(self, *where: Any, **how: Any) -> Any:
        return await in_thread(partial(socket.getaddrinfo, *where, **how))


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Do what `asyncio.run` does, but end without waiting for the resolver."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
