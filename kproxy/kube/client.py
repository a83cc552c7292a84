"""The shell around a reflector: it makes the requests over HTTP/1.1 and TLS, and watches the clock. Linux.

One connection per request: a watch lasts minutes, and a new connection is what picks up rotated credentials.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import h11

from kproxy.errors import KproxyError, SourceError
from kproxy.kube.connection import READ_BYTES, connect, get_request, post_request, reason
from kproxy.kube.recovery import Recovery
from kproxy.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.kube.credentials import Credentials
    from kproxy.kube.login import Login
    from kproxy.kube.reflector import Reflector
    from kproxy.kube.requests import Request

LOOK_AT_FILES_S: Final = 0.5
"""How often new credentials are looked for while those of now are not accepted."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Of an answer to a request that creates something, so much is read."""
CREATE_S: Final = 10.0


class Exchange(NamedTuple):
    """A request that has ended. `status` is 0 without an answer; `seconds` None for a stream: it lasts as it likes."""

    method: str
    host: str
    status: int
    seconds: float | None


def _ignore(_: Exchange) -> None:
    pass


class ApiClient:
    """Runs reflectors against one API server. `server` is its URL, "" until it was known once.

    `observe` is told of every request that ends.
    """

    def __init__(self, credentials: Credentials, observe: Callable[[Exchange], None] = _ignore) -> None:
        self.server = ""
        self._host = ""
        self._observe = observe
        self._credentials = credentials
        self._pending: asyncio.Future[Login] | None = None
        self._recovery = Recovery(random.random)
        self._worked = asyncio.Event()

    async def run(self, reflector: Reflector, news: Callable[[], None]) -> None:
        """Make the reflector's requests until cancelled; call `news` whenever it may know something new."""
        clock = asyncio.get_running_loop().time
        self._recovery.join(reflector)
        try:
            while True:
                request = reflector.poll(clock())
                if request is None:
                    await self._rest(reflector)
                    continue
                await self._ask(reflector, request, news)
                self._recovery.ended(reflector, clock())
                news()
        finally:
            self._recovery.leave(reflector)

    async def create(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Create an object (JSON); return the answer's status and body. Raises KproxyError when there is no answer."""
        try:
            async with asyncio.timeout(CREATE_S):
                return await self._post(path, body)
        except TimeoutError:
            raise SourceError("no answer") from None
        except ssl.SSLError as error:
            self._credentials.reject()
            raise SourceError(reason(error)) from None
        except (OSError, UnicodeError, h11.ProtocolError) as error:
            raise SourceError(reason(error)) from None

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        clock = asyncio.get_running_loop().time
        start, status, parts, size = clock(), 0, [], 0
        login = await self._login()
        reader, writer = await connect(login)
        try:
            http = h11.Connection(h11.CLIENT)
            writer.write(post_request(http, login, path, body))
            while not isinstance(event := http.next_event(), h11.EndOfMessage) and size < MAX_ANSWER_BYTES:
                match event:
                    case h11.NEED_DATA:
                        http.receive_data(await reader.read(READ_BYTES))
                    case h11.InformationalResponse():
                        pass
                    case h11.Response():
                        status = event.status_code
                    case h11.Data():
                        parts.append(bytes(event.data))
                        size += len(event.data)
                    case _:
                        raise SourceError("the server closed the connection")
        finally:
            writer.transport.abort()
            self._observe(Exchange("POST", self._host, status, clock() - start))
        if status == 401:
            self._credentials.reject()
        return status, b"".join(parts)

    async def _rest(self, reflector: Reflector) -> None:
        """Sleep until the reflector's turn comes, or until another one has found out that the server works again.

        Where it is the credentials that were not accepted, their files are looked at, which costs the server nothing.
        """
        clock = asyncio.get_running_loop().time
        due = self._recovery.due(reflector)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(due, clock() + LOOK_AT_FILES_S) if reflector.ours else due):
                await self._worked.wait()
        if reflector.ours and await asyncio.shield(in_thread(self._credentials.renewed)):
            reflector.hasten(clock())
        self._recovery.woke(reflector, clock())

    def _works(self, reflector: Reflector) -> None:
        self._recovery.works(reflector, asyncio.get_running_loop().time())
        self._worked.set()
        self._worked = asyncio.Event()

    async def _ask(self, reflector: Reflector, request: Request, news: Callable[[], None]) -> None:
        clock = asyncio.get_running_loop().time
        writer = None
        try:
            async with asyncio.timeout_at(reflector.deadline):
                login = await self._login()
                reader, writer = await connect(login)
            http = h11.Connection(h11.CLIENT)
            writer.write(get_request(http, login, request))
            reflector.connected(clock())
            await self._read(http, reader, reflector, news)
            if reflector.status == 401:
                self._credentials.reject()
        except TimeoutError as error:
            # The kernel's own ETIMEDOUT is one too, and comes before the deadline.
            if clock() >= reflector.deadline:
                reflector.expired(clock())
            else:
                reflector.lost(clock(), reason(error))
        except (KproxyError, ssl.SSLError, h11.ProtocolError) as error:
            if isinstance(error, ssl.SSLError):
                self._credentials.reject()
            reflector.lost(clock(), reason(error), reached=True)
        except (OSError, UnicodeError) as error:
            reflector.lost(clock(), reason(error))
        finally:
            self._observe(Exchange("GET", self._host, reflector.status, None))
            if writer is not None:
                writer.transport.abort()

    async def _read(
        self, http: h11.Connection, reader: asyncio.StreamReader, reflector: Reflector, news: Callable[[], None]
    ) -> None:
        """Read the answer until it ends or the reflector wants no more of it."""
        clock = asyncio.get_running_loop().time
        body: list[bytes] = []
        data = b"-"  # b"" when the server has closed its side
        while not reflector.idle:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as error:
                _pass_on(body, reflector, news)  # what came before the fault did come
                if data:
                    raise
                why = "the stream was cut" if reflector.status else "the server closed the connection"
                raise h11.RemoteProtocolError(why) from error
            match event:
                case h11.Data():
                    body.append(bytes(event.data))
                case h11.NEED_DATA:
                    # Chunks that came together are read together: the server sends each event in one of its own.
                    _pass_on(body, reflector, news)
                    if reflector.idle:
                        return
                    async with asyncio.timeout_at(reflector.deadline):
                        data = await reader.read(READ_BYTES)
                    http.receive_data(data)
                case h11.Response():
                    headers = dict(event.headers)
                    was_failing = reflector.failing
                    reflector.response(clock(), event.status_code, headers.get(b"retry-after", b"").decode("latin-1"))
                    if was_failing and not reflector.failing:
                        self._works(reflector)
                case h11.EndOfMessage():
                    _pass_on(body, reflector, news)
                    reflector.end(clock())
                    return
                case h11.PAUSED | h11.ConnectionClosed():
                    reflector.lost(clock(), "the server closed the connection")
                    return

    async def _login(self) -> Login:
        """Return the login; all that ask at the same time share one, so that a slow plugin runs once."""
        if self._pending is None or self._pending.done():
            self._pending = in_thread(self._credentials.login)
        login = await asyncio.shield(self._pending)
        self.server, self._host = login.url, login.authority
        return login


def _pass_on(body: list[bytes], reflector: Reflector, news: Callable[[], None]) -> None:
    if body and not reflector.idle:
        reflector.data(asyncio.get_running_loop().time(), b"".join(body))
        news()
    body.clear()
