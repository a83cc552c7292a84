"""The workers: started, fed, listened to, and started again when they end.

The sockets stay open here meanwhile, so what comes for a worker that died waits for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from kproxy.dns.feed import MAX_FDS, Drain, FrameReader, FromWorker, Listen, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kproxy.dns.server.sockets import Open

log = logging.getLogger(__name__)

RESTART_S: Final = (0.0, 0.1, 0.5, 2.0, 5.0)
"""How long a worker that ended is waited for, the more often the longer; one that lived for a minute begins anew."""
SETTLED_S: Final = 60.0
READ_OCTETS: Final = 256 * 1024


class Worker:
    """One worker, whichever process it is at present.

    `beginning` returns what a new process is to be told first; `heard(message)` is called for all that it says.
    `running` is False between two processes.
    """

    def __init__(
        self,
        number: int,
        beginning: Callable[[], Iterable[bytes]],
        heard: Callable[[int, object], None],
        ended: Callable[[int], None],
    ) -> None:
        self.number = number
        self.running = False
        self._beginning = beginning
        self._heard = heard
        self._ended = ended
        self._sockets: list[Open] = []
        self._queue: asyncio.Queue[Iterable[bytes] | Sequence[Open]] = asyncio.Queue()
        self._draining = False
        self._process: subprocess.Popen[bytes] | None = None

    def tell(self, messages: Iterable[bytes]) -> None:
        """Send encoded messages."""
        if self.running:
            self._queue.put_nowait(messages)

    def listen(self, sockets: Sequence[Open]) -> None:
        """Let it answer on these sockets, too."""
        self._sockets += sockets
        if self.running:
            self._queue.put_nowait(_Sockets(sockets))

    def drain(self) -> None:
        """Let it answer what it has, and end."""
        self._draining = True
        self.tell([encode(Drain())])

    def kill(self) -> None:
        """End it at once, as it hangs. Unless it was to end, another one is started."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Close the sockets, at the end."""
        for one in self._sockets:
            one.sock.close()

    async def run(self) -> None:
        """Keep a process running until it was drained, or this is cancelled (which kills it)."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while not self._draining:
            began = clock()
            try:
                what = f"ended with code {await self._one()}"
            except OSError as error:  # there may be too many processes at the moment
                what = f"was not started: {(error.strerror or str(error)).lower()}"
            self._ended(self.number)
            if self._draining:
                return
            failures = 1 if clock() - began > SETTLED_S else failures + 1
            wait_s = RESTART_S[min(failures, len(RESTART_S)) - 1]
            log.error("DNS worker %d %s: starting another in %g s", self.number, what, wait_s)
            await asyncio.sleep(wait_s)

    async def _one(self) -> int:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                argv = [sys.executable, "-m", "kproxy.dns.server.worker", str(theirs.fileno())]
                process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            self._process = process
            self._queue = asyncio.Queue()
            self.running = True
            self._queue.put_nowait(self._beginning())
            if self._sockets:
                self._queue.put_nowait(_Sockets(self._sockets))
            sending = asyncio.create_task(self._send(ours))
            try:
                await self._listen(ours)
            finally:
                self.running = False
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                self._process = None
                if not self._draining:
                    process.kill()
                code = await asyncio.to_thread(_wait, process)
        return code

    async def _send(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # it has ended, which `_listen` notices
            while True:
                match await self._queue.get():
                    case _Sockets() as sockets:
                        for at in range(0, len(sockets), MAX_FDS):
                            some = sockets[at : at + MAX_FDS]
                            frame = encode(Listen([one.listening for one in some]))
                            fds = [one.sock.fileno() for one in some]
                            await loop.sock_sendall(sock, frame[:-1])
                            await _send_fds(sock, frame[-1:], fds)
                    case messages:
                        for message in messages:
                            await loop.sock_sendall(sock, message)  # type: ignore[arg-type]

    async def _listen(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        frames = FrameReader(FromWorker)
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(sock, READ_OCTETS):
                for message in frames.feed(data):
                    self._heard(self.number, message)


class _Sockets(list["Open"]):
    """Sockets to hand over, among the messages to send."""


async def _send_fds(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    """Send the end of a message together with the descriptors that belong to it."""
    while True:
        try:
            socket.send_fds(sock, [data], fds)
        except BlockingIOError:
            await asyncio.sleep(0.001)
        else:
            return


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
