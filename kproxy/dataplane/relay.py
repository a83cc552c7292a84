"""Relays TCP connections to node ports on localhost, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from kproxy.plan.localhost_ports import LocalhostPort

log = logging.getLogger(__name__)

CONNECT_S: Final = 5.0
ACCEPT_AGAIN_S: Final = 0.5
READ_BYTES: Final = 64 * 1024
LOOPBACK: Final = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


class Relay:
    """Listens on the loopback address of one family. `count` and `failures` are for metrics.

    The methods are for one thread; the connections are served in another one.
    """

    def __init__(self, family: Family, failed: Callable[[], None] = lambda: None) -> None:
        self._family = family
        self._failed = failed
        self._ports: dict[int, _Port] = {}
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None

    def serve(self, wanted: Mapping[int, LocalhostPort]) -> None:
        """Serve exactly these, by node port. A port that can't be listened on is logged and tried at the next call.

        Connections live as long as their port does, whatever becomes of the endpoint for others.
        """
        for number in self._ports.keys() - wanted.keys():
            self._call(self._ports.pop(number).close)
        for number, port in wanted.items():
            if number in self._ports:
                self._ports[number].port = port
                continue
            try:
                listening = _listen(self._family, number)
            except OSError as error:
                self._failed()
                log.error("node port %s:%d can't be served: %s", LOOPBACK[self._family], number, error.strerror)
                continue
            self._ports[number] = made = _Port(port)
            self._call(made.start, listening)

    @property
    def count(self) -> int:
        """The ports that are served."""
        return len(self._ports)

    def close(self) -> None:
        """Stop serving, and cut the connections."""
        self._ports.clear()
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(self._loop,), name="kproxy-relay", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(function, *arguments)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
    loop.close()


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Port:
    """One node port. `port` may be replaced at any time; all else belongs to the relay's own thread."""

    def __init__(self, port: LocalhostPort) -> None:
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._pinned: tuple[str, int] | None = None
        self._pinned_until = 0.0

    def start(self, listening: socket.socket) -> None:
        self._begin(self._accept(listening))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        with listening:
            while True:
                try:
                    client, _ = await asyncio.get_running_loop().sock_accept(listening)
                except OSError as error:  # no file descriptors left, for one
                    log.warning("node port %d on localhost: %s", self.port.port, error.strerror)
                    await asyncio.sleep(ACCEPT_AGAIN_S)
                else:
                    self._begin(self._relay(client))

    async def _relay(self, client: socket.socket) -> None:
        endpoint = self._choose()
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(*endpoint)
        except OSError as error:  # TimeoutError is one
            log.debug("an endpoint of node port %d, %s, can't be reached: %s", self.port.port, endpoint[0], error)
            client.close()
            return
        client_reader, client_writer = await asyncio.open_connection(sock=client)
        try:
            await asyncio.gather(_copy(client_reader, writer), _copy(reader, client_writer))
            writer.close()
            client_writer.close()
        except BaseException as error:
            # One side has broken off, or the port is no more: that is what the other side is to see.
            writer.transport.abort()
            client_writer.transport.abort()
            if not isinstance(error, OSError):
                raise

    def _choose(self) -> tuple[str, int]:
        port, now = self.port, time.monotonic()
        if port.affinity_s is None:
            return random.choice(port.endpoints)
        if self._pinned not in port.endpoints or now >= self._pinned_until:
            self._pinned = random.choice(port.endpoints)
        self._pinned_until = now + port.affinity_s
        assert self._pinned is not None
        return self._pinned


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and pass the end on: the other direction may go on."""
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _listen(family: Family, port: int) -> socket.socket:
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    listening = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK[family], port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening
