from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.errors import SourceError
from kproxy.kube.backoff import BackOffPolicy
from kproxy.kube.client import ApiClient
from kproxy.kube.credentials import Plain, ServiceAccount
from kproxy.kube.login import Login
from kproxy.kube.reflector import Reflector
from kproxy.kube.resources import SERVICES
from tests.kube.certificates import Authority, Pair, serving
from tests.kube.live_api import FAST, LiveApi, live_api
from tests.kube.texts import bookmark, line, service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from kproxy.kube.credentials import Credentials
    from kproxy.kube.requests import Timing

PATIENCE_S = 20.0


class Running:
    """A reflector that a client runs."""

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector
        self.news = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.news.wait()
            self.news.clear()

    async def holds(self, key: str) -> None:
        await self.until(lambda: self.reflector.synced and self.reflector.holds(key))

    async def trouble(self, text: str) -> None:
        try:
            await self.until(lambda: text in self.reflector.trouble)
        except asyncio.CancelledError:
            raise AssertionError(self.reflector.trouble) from None


@asynccontextmanager
async def running(credentials: Credentials, timing: Timing = FAST) -> AsyncIterator[Running]:
    reflector = Reflector(SERVICES, lambda: 0.5, timing)
    found = Running(reflector)
    task = asyncio.create_task(ApiClient(credentials).run(reflector, found.news.set))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def raw_server(*answers: bytes, stay: bool = False) -> AsyncIterator[Plain]:
    """A server that sends one of the answers per connection (the last one ever after), and closes it, or stays."""
    left = list(answers)
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        if stay:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Plain(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def chunked(*chunks: bytes, end: bool = False) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + (b"0\r\n\r\n" if end else b"")


INITIAL = (line("ADDED", service("web", 3)), bookmark(5, end=True))

BAD_ANSWERS = [
    ("no answer at all", b"", "closed"),
    ("not HTTP", b"SSH-2.0-OpenSSH_9\r\n\r\n", "illegal status line"),
    ("cut in the head", b"HTTP/1.1 200 OK\r\nTransfer-", "closed"),
    ("cut in the first chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "the stream was cut"),
    ("cut between chunks", chunked(INITIAL[0]), "the stream was cut"),
    ("a redirect", b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "302"),
    ("a proxy's HTML", b"HTTP/1.1 502 Bad\r\nContent-Length: 12\r\n\r\n<h1>502</h1>", "502 <h1>502</h1>"),
    ("an error cut short", b"HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\n<h1>", "500 <h1>"),
]


@pytest.mark.parametrize(
    ("answer", "trouble"), [case[1:] for case in BAD_ANSWERS], ids=[case[0] for case in BAD_ANSWERS]
)
def test_a_bad_answer_is_a_trouble_and_tried_again(answer: bytes, trouble: str) -> None:
    async def run() -> None:
        async with raw_server(answer, answer, chunked(*INITIAL)) as server, running(server) as client:
            await client.trouble(trouble)
            await client.holds("default/web")

    asyncio.run(run())


def test_what_came_before_a_cut_did_come() -> None:
    async def run() -> None:
        more = line("ADDED", service("more", 7))
        async with raw_server(chunked(*INITIAL, more)) as server, running(server) as client:
            await client.holds("default/more")

    asyncio.run(run())


def test_a_body_that_ends_with_the_connection() -> None:
    async def run() -> None:
        answer = b"HTTP/1.0 200 OK\r\n\r\n" + b"".join(INITIAL)
        async with raw_server(answer) as server, running(server) as client:
            await client.holds("default/web")

    asyncio.run(run())


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def run() -> None:
        timing = replace(FAST, answer_s=0.1)
        async with raw_server(b"", b"", chunked(*INITIAL), stay=True) as server, running(server, timing) as client:
            await client.trouble("no answer")
            await client.holds("default/web")

    asyncio.run(run())


def test_a_stream_without_bookmarks_is_given_up() -> None:
    async def run() -> None:
        timing = replace(FAST, watch_silence_s=0.1)
        more = chunked(line("ADDED", service("more", 7)))
        async with raw_server(chunked(*INITIAL), more, stay=True) as server, running(server, timing) as client:
            await client.holds("default/more")

    asyncio.run(run())


def test_a_connection_that_is_not_made_is_given_up() -> None:
    """The queue of a listening socket that nobody accepts from is full: no SYN is answered."""

    async def run() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            timing = replace(FAST, connect_s=0.1, answer_s=0.1)
            async with running(Plain(f"http://127.0.0.1:{port}"), timing) as client:
                await client.trouble("no connection")
            for one in waiting:
                one.close()

    asyncio.run(run())


def test_a_refused_connection_and_an_unknown_host() -> None:
    async def run() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            async with running(Plain(f"http://127.0.0.1:{closed.getsockname()[1]}")) as client:
                await client.trouble("connection refused")
        async with running(Plain("http://no-such-host.invalid")) as client:
            await client.until(lambda: client.reflector.trouble != "")

    asyncio.run(run())


def test_the_connection_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[socket.socket] = []
    connect = asyncio.open_connection

    async def noted(*args: Any, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await connect(*args, **kwargs)
        connected.append(writer.get_extra_info("socket"))
        return reader, writer

    async def run() -> None:
        monkeypatch.setattr(asyncio, "open_connection", noted)
        async with live_api() as api, running(Plain(api.url)) as client:
            await client.until(lambda: client.reflector.synced)
            [mine] = [one for one in connected if one.getpeername()[1] == api.port]
            assert mine.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert mine.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert mine.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000

    asyncio.run(run())


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "cluster")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


def account(directory: Path, ca: Path, port: int, host: str = "127.0.0.1") -> ServiceAccount:
    directory.joinpath("ca.crt").write_bytes(ca.read_bytes())
    directory.joinpath("token").write_text("first\n", encoding="ascii")
    return ServiceAccount({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}, directory)


def test_tls_and_a_rotated_token(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            live_api(LiveApi(authorization="Bearer first"), serving(pair)) as api,
            running(account(tmp_path, authority.ca, api.port)) as client,
        ):
            await client.until(lambda: client.reflector.synced)
            api.authorization = "Bearer second"
            await api.cut()
            await client.trouble("401 Told so")
            (tmp_path / "token").write_text("second\n", encoding="ascii")
            await api.put(service("web"))
            await client.holds("default/web")
            assert client.reflector.trouble == ""

    asyncio.run(run())


def test_a_connection_that_ends_as_soon_as_it_is_open(
    authority: Authority, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio has forgotten the socket by the time it hands such a connection over."""
    connect, ended = asyncio.open_connection, 0

    async def ending(*args: Any, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        nonlocal ended
        reader, writer = await connect(*args, **kwargs)
        if ended < 2:
            ended += 1
            writer.transport.abort()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
            assert writer.get_extra_info("socket") is None
        return reader, writer

    async def run() -> None:
        async with live_api(LiveApi(), serving(pair)) as api:
            monkeypatch.setattr(asyncio, "open_connection", ending)
            async with running(account(tmp_path, authority.ca, api.port)) as client:
                await client.until(lambda: client.reflector.synced)
        assert ended == 2

    asyncio.run(run())


def test_an_unknown_ca_until_the_file_is_replaced(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")

    async def run() -> None:
        async with (
            live_api(LiveApi(), serving(pair)) as api,
            running(account(tmp_path, other.ca, api.port)) as client,
        ):
            await client.trouble("its certificate is not accepted: ")
            assert api.calls == []
            (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
            await client.until(lambda: client.reflector.synced)

    asyncio.run(run())


def test_renewed_files_are_not_waited_for(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    """However long the back-off is by then: a look at the files costs the server nothing."""
    other = Authority(tmp_path, "other")
    patient = replace(FAST, failures=BackOffPolicy(600.0, 600.0))

    async def run() -> None:
        async with (
            live_api(LiveApi(), serving(pair)) as api,
            running(account(tmp_path, other.ca, api.port), patient) as client,
        ):
            await client.trouble("its certificate is not accepted: ")
            (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
            await client.until(lambda: client.reflector.synced)

    asyncio.run(run())


def test_a_certificate_of_another_name(authority: Authority, tmp_path: Path) -> None:
    async def run() -> None:
        named = authority.issue("elsewhere", "DNS:kube.example")
        async with (
            live_api(LiveApi(), serving(named)) as api,
            running(account(tmp_path, authority.ca, api.port)) as client,
        ):
            await client.trouble("its certificate is not accepted: IP address mismatch")
            assert api.calls == []

    asyncio.run(run())


class ByHand:
    """A login that the test sets."""

    def __init__(self, login: Login) -> None:
        self.now: Login | SourceError = login
        self.rejected = 0

    def login(self) -> Login:
        if isinstance(self.now, SourceError):
            raise self.now
        return self.now

    def reject(self) -> None:
        self.rejected += 1

    def renewed(self) -> bool:
        return False


def test_client_certificates(authority: Authority, pair: Pair) -> None:
    async def run() -> None:
        client_pair = authority.issue("node")
        with_it = _client_context(authority, client_pair)
        async with live_api(LiveApi(), serving(pair, clients=authority.ca)) as api:
            without = _client_context(authority, None)
            credentials = ByHand(Login("127.0.0.1", api.port, tls=without, server_name="127.0.0.1"))
            async with running(credentials) as client:
                await client.until(lambda: client.reflector.trouble != "")
                assert api.calls == []
                credentials.now = Login("127.0.0.1", api.port, tls=with_it, server_name="127.0.0.1")
                await client.until(lambda: client.reflector.synced)

    asyncio.run(run())


def _client_context(authority: Authority, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def test_credentials_that_fail_are_a_trouble() -> None:
    async def run() -> None:
        async with live_api() as api:
            credentials = ByHand(Login("127.0.0.1", api.port))
            credentials.now = SourceError("the plugin broke")
            async with running(credentials) as client:
                await client.trouble("the plugin broke")
                credentials.now = Login("127.0.0.1", api.port)
                await client.until(lambda: client.reflector.synced)

    asyncio.run(run())


def test_credentials_that_never_come_do_not_hinder_the_end() -> None:
    called = threading.Event()
    for_ever = threading.Event()

    class Hanging:
        def login(self) -> Login:
            called.set()
            for_ever.wait()
            raise SourceError("too late")

        def reject(self) -> None: ...

        def renewed(self) -> bool:
            return False

    async def run() -> None:
        async with running(Hanging(), replace(FAST, connect_s=0.05)) as client:
            await client.trouble("no connection")

    asyncio.run(run())
    assert called.is_set()
    for_ever.set()


def test_401_rejects_the_credentials() -> None:
    async def run() -> None:
        async with live_api() as api:
            api.faults["Service"] = ["401"]
            credentials = ByHand(Login("127.0.0.1", api.port))
            async with running(credentials) as client:
                await client.until(lambda: client.reflector.synced)
            assert credentials.rejected == 1

    asyncio.run(run())


def test_a_token_that_is_no_header() -> None:
    async def run() -> None:
        async with live_api() as api:
            async with running(ByHand(Login("127.0.0.1", api.port, authorization="Bearer a\nb"))) as client:
                await client.trouble("Illegal header value")
            assert api.calls == []

    asyncio.run(run())
