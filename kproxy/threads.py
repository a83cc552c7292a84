"""Calls that may block for ever (a tool, the kernel, a plugin, a file), beside the event loop.

Each has a thread of its own that does not keep the process from ending; the threads of `asyncio.to_thread` would.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def in_thread(call: Callable[[], T], name: str = "kproxy-call") -> asyncio.Future[T]:
    """Run a call in a thread; the future has what it returns or raises. To cancel it does not end the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is seen, if by nobody else

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the result is waited for
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class Calls:
    """Runs calls in threads, and knows which have not ended."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises. Cancelled, it leaves the call to itself."""
        future = in_thread(call)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return await asyncio.shield(future)

    async def ended(self, patience_s: float) -> bool:
        """Wait for all calls to end, for so long at most; tell whether they have."""
        if self._running:
            await asyncio.wait(self._running, timeout=patience_s)
        return not self._running
