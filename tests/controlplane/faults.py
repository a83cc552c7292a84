"""A TCP proxy that fails on request, between a client and the API server.

It runs an event loop in a thread inside a namespace. Where it ends the TLS of the client and makes its own towards the
server it sees HTTP, and can fail at any byte of it; where it passes TLS on, only the faults of TCP make sense.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from tests.controlplane.link import Faults, Link, socket_of
from tests.controlplane.truncation import Truncation

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Mapping

    from tests.lab.namespace import Namespace

CHUNK = 65536
#: How long a closed connection waits for the other side's TLS good-bye; servers don't.
TLS_GOODBYE_S = 0.1


class FaultProxy:
    """Use as a context manager. Without a fault it passes everything on. `heal()` ends every fault.

    `fired` counts the connections that were truncated and the requests that were answered in the server's place.
    """

    def __init__(
        self,
        namespace: Namespace,
        listen: tuple[str, int],
        upstream: tuple[str, int],
        *,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    ) -> None:
        self.address = listen
        self.fired = 0
        self.accepted = 0
        self._namespace = namespace
        self._upstream = upstream
        self._tls = tls
        self._faults = Faults()
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"https://{self.address[0]}:{self.address[1]}"

    @property
    def open_connections(self) -> int:
        return len(self._links)

    def __enter__(self) -> FaultProxy:
        self._namespace.run_of.on_close(self.close)
        self._thread.start()
        self._flowing = asyncio.Event()
        try:
            self.heal()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Reset every connection and stop listening. May be called twice."""
        if self._loop.is_closed():
            return
        self._do(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- faults -----------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """No faults from now on: listen, let everything flow. What was cut stays cut."""

        async def heal() -> None:
            self._faults = Faults()
            for link in self._links:
                link.truncation = None
            self._flowing.set()
            await self._listen()

        self._do(heal)

    def cut(self, *, reset: bool = True) -> None:
        """End every connection, by a reset or by a FIN, and refuse new ones: the server's host has no server."""

        async def cut() -> None:
            await self._deafen()
            self._end_all(reset=reset)

        self._do(cut)

    def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        self._do(self._deafen)

    def break_connections(self, *, reset: bool = True) -> None:
        """End every connection once; new ones work."""

        async def break_them() -> None:
            self._end_all(reset=reset)

        self._do(break_them)

    def stall(self) -> None:
        """Nothing flows any more in either direction, and nothing says so; new connections open and stay silent."""

        async def stall() -> None:
            self._flowing.clear()

        self._do(stall)

    def freeze(self) -> None:
        """Nothing flows any more on present connections, for good, and nothing says so; new ones work.

        They are half open, as after a restart of something between that kept state.
        """

        async def freeze() -> None:
            for link in self._links:
                link.frozen = True

        self._do(freeze)

    def half_close(self) -> None:
        """A FIN to every client, without TLS's own good-bye; the client's direction stays open."""

        async def half_close() -> None:
            for link in self._links:
                link.deaf = True
                with contextlib.suppress(OSError):
                    socket_of(link.client).shutdown(socket.SHUT_WR)

        self._do(half_close)

    def truncate_after(self, count: int) -> None:
        """On every connection, present and new, end the server's data after `count` more bytes."""
        self._truncate(lambda: Truncation(left=count))

    def truncate_behind(self, marker: bytes) -> None:
        """End a connection behind the first `marker` in the server's data: in the middle of a line, or a character."""
        if not self._tls:
            raise ValueError("the proxy passes TLS on, so it cannot look for a marker")
        self._truncate(lambda: Truncation(marker=marker))

    def answer(
        self, status: int, headers: Mapping[str, str] | None = None, body: str = "", times: int = 1 << 30
    ) -> None:
        """Answer the next requests in the server's place, `{"Retry-After": "1"}` with it, and close."""
        if not self._tls:
            raise ValueError("the proxy passes TLS on, so it cannot answer")
        lines = [f"HTTP/1.1 {status} Because", "Content-Type: application/json", "Connection: close"]
        lines += [f"Content-Length: {len(body.encode())}", *(f"{k}: {v}" for k, v in (headers or {}).items())]

        async def answer() -> None:
            self._faults.answer = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
            self._faults.answers_left = times

        self._do(answer)

    def _truncate(self, make: Callable[[], Truncation]) -> None:
        async def truncate() -> None:
            self._faults.truncation = make
            for link in self._links:
                link.truncation = make()

        self._do(truncate)

    # --- the thread's own -------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._namespace.call(self._loop.run_forever)

    def _do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function in the proxy's thread and wait for it."""
        asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, *self.address, **self._options(0))

    def _options(self, side: int) -> dict[str, Any]:
        return {"ssl": self._tls[side], "ssl_shutdown_timeout": TLS_GOODBYE_S} if self._tls else {}

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _end_all(self, *, reset: bool) -> None:
        for link in list(self._links):
            link.end(reset=reset)

    async def _close(self) -> None:
        await self._deafen()
        self._end_all(reset=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            from_server, server = await asyncio.open_connection(*self._upstream, **self._options(1))
        except OSError:
            # The server's own refusal, passed on as one.
            client.transport.abort()
            return
        make = self._faults.truncation
        link = Link(client, server, make() if make else None)
        self._links.add(link)
        pumps = [asyncio.create_task(self._up(from_client, link)), asyncio.create_task(self._down(from_server, link))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._links.discard(link)
            link.end(reset=False)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _may_flow(self, link: Link) -> None:
        await self._flowing.wait()
        if link.frozen:
            await asyncio.get_running_loop().create_future()  # until the link ends

    async def _up(self, from_client: asyncio.StreamReader, link: Link) -> None:
        """From the client to the server. A client sends only requests, so what comes begins one."""
        with contextlib.suppress(OSError):
            while data := await from_client.read(CHUNK):
                await self._may_flow(link)
                if self._faults.answer and self._faults.answers_left:
                    self._faults.answers_left -= 1
                    self.fired += 1
                    link.client.write(self._faults.answer)
                    await link.client.drain()
                    return
                link.server.write(data)
                await link.server.drain()

    async def _down(self, from_server: asyncio.StreamReader, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await from_server.read(CHUNK):
                await self._may_flow(link)
                last = False
                if link.truncation:
                    data, last = link.truncation.take(data)
                if not link.deaf:
                    link.client.write(data)
                    await link.client.drain()
                if last:
                    self.fired += 1
                    return
