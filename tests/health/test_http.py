"""The HTTP server on real sockets of the loopback interface."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.errors import ServerError
from kproxy.health.accept import AcceptLoop
from kproxy.health.answer import Answer
from kproxy.health.bind import BindAddress
from kproxy.health.http import HttpServer
from kproxy.health.listen import listen
from kproxy.health.request import Site
from tests.health.client import PATIENCE_S, get, needs_ipv6, refused, taken_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = Answer(200, b"hello", (("Content-Type", "text/plain"), ("X-Extra", "1")))


def broken() -> Answer:
    raise ZeroDivisionError


SITE = Site({"/hello": lambda: HELLO, "/down": lambda: Answer(503, b"down"), "/broken": broken})


def serve(site: Site = SITE, host: str = "127.0.0.1") -> contextlib.closing[HttpServer]:
    return contextlib.closing(HttpServer("the test server", BindAddress(host, 0), site))


@pytest.fixture
def port() -> Iterator[int]:
    with serve() as server:
        assert server.port is not None
        yield server.port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_get(port: int) -> None:
    reply = get(port, "/hello")
    assert (reply.status, reply.body) == (200, b"hello")
    assert reply.headers["Content-Length"] == "5"
    assert reply.headers["Content-Type"] == "text/plain"
    assert reply.headers["X-Extra"] == "1"
    assert reply.headers["Server"] == "kproxy"


@pytest.mark.parametrize("path", ["/hello?x=1", "/hello?"])
def test_the_query_does_not_matter(port: int, path: str) -> None:
    assert get(port, path).status == 200


@pytest.mark.parametrize("path", ["/", "/hello/", "/Hello", "/metrics", "*", "http://x/hello"])
def test_other_paths(port: int, path: str) -> None:
    assert get(port, path).status == 404


def test_code_of_the_route(port: int) -> None:
    assert (get(port, "/down").status, get(port, "/down").body) == (503, b"down")


def test_head_has_the_length_and_no_body(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Length: 5" in head
    assert body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_answered_alike(port: int, method: str) -> None:
    reply = get(port, "/hello", method=method, body=b"x" * 5000)
    assert (reply.status, reply.body) == (200, b"hello")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(b"GET /hello\xff HTTP/1.1\r\n\r\n", b"404"),
     (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"), (b"FROB / HTTP/1.1\r\n\r\n", b"501"),
     (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b"414"), (b"GET /hello HTTP/1.0\r\n\r\n", b"200"),
     (b"POST /hello HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n" + b"a" * 65536, b"200")],
    ids=["bytes", "tls", "unknown method", "long", "old", "length"],
)  # fmt: skip
def test_odd_requests(port: int, request_bytes: bytes, status: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(65536).split()[1] == status
    assert get(port, "/hello").status == 200


def test_a_route_that_fails_is_500_and_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert get(port, "/broken").status == 500
    assert "the answer to /broken failed" in caplog.text
    assert get(port, "/hello").status == 200


@pytest.mark.parametrize("sent", [b"", b"GET /hel", b"GET /hello HTTP/1.1\r\nHost:"], ids=["silent", "path", "header"])
def test_clients_that_stop_midway_block_nobody(port: int, sent: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(port)).sendall(sent)
        assert get(port, "/hello").status == 200


def test_a_client_that_does_not_read_blocks_nobody() -> None:
    started = threading.Event()

    def big() -> Answer:
        started.set()
        return Answer(200, bytes(64 * 1024 * 1024))

    with serve(Site({"/big": big, "/hello": lambda: HELLO})) as server:
        assert server.port is not None
        with connect(server.port) as deaf:
            deaf.sendall(b"GET /big HTTP/1.1\r\n\r\n")
            assert started.wait(PATIENCE_S)
            assert get(server.port, "/hello").status == 200


def test_a_slow_route_blocks_nobody_else() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> Answer:
        entered.set()
        release.wait(PATIENCE_S)
        return HELLO

    with serve(Site({"/slow": slow, "/hello": lambda: HELLO})) as server:
        assert server.port is not None
        with connect(server.port) as waiting:
            waiting.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            assert entered.wait(PATIENCE_S)
            assert get(server.port, "/hello").status == 200
            release.set()
            assert read_all(waiting).endswith(b"hello")


def test_a_silent_client_is_cut_after_the_timeout() -> None:
    loop = AcceptLoop("test", timeout_s=0.05)
    with contextlib.closing(loop):
        listening = listen(BindAddress("127.0.0.1", 0), purpose="test")
        port = listening.getsockname()[1]
        loop.add(listening, SITE)
        with connect(port) as silent:
            assert silent.recv(1) == b""


def test_too_many_connections_cost_the_oldest_one() -> None:
    loop = AcceptLoop("test", max_connections=3)
    with contextlib.closing(loop), contextlib.ExitStack() as stack:
        listening = listen(BindAddress("127.0.0.1", 0), purpose="test")
        port = listening.getsockname()[1]
        loop.add(listening, SITE)
        silent = [stack.enter_context(connect(port)) for _ in range(3)]
        assert get(port, "/hello").status == 200
        assert silent[0].recv(1) == b""
        silent[2].sendall(b"GET /hello HTTP/1.1\r\n\r\n")
        assert read_all(silent[2]).endswith(b"hello")


class OutOfDescriptors(socket.socket):
    """A listening socket whose accept() fails for want of descriptors as often as the test says."""

    failures = 0

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_out_of_descriptors_costs_the_oldest_connection(caplog: pytest.LogCaptureFixture) -> None:
    loop = AcceptLoop("test")
    with contextlib.closing(loop):
        listening = OutOfDescriptors(fileno=listen(BindAddress("127.0.0.1", 0), purpose="test").detach())
        port = listening.getsockname()[1]
        loop.add(listening, SITE)
        with connect(port) as silent:
            get(port, "/hello")  # the loop has accepted the one before by then
            listening.failures = 3
            assert get(port, "/hello").status == 200
            assert silent.recv(1) == b""
    assert [record.getMessage() for record in caplog.records] == ["test: can't accept connections: Too many open files"]


@needs_ipv6
@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_all_addresses_means_both_families(host: str) -> None:
    with serve(host=host) as server:
        assert server.port is not None
        assert get(server.port, "/hello", host="127.0.0.1").status == 200
        assert get(server.port, "/hello", host="127.0.0.2").status == 200
        assert get(server.port, "/hello", host="::1").status == 200


def test_all_addresses_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with serve(host="") as server:
        assert server.port is not None
        assert get(server.port, "/hello").status == 200
        assert refused(server.port, "::1")


def test_one_address_means_that_one() -> None:
    with serve(host="127.0.0.2") as server:
        assert server.port is not None
        assert get(server.port, "/hello", host="127.0.0.2").status == 200
        assert refused(server.port, "127.0.0.1")


def test_close_frees_the_port_and_cuts_the_clients() -> None:
    server = HttpServer("the test server", BindAddress("127.0.0.1", 0), SITE)
    assert server.port is not None
    with connect(server.port) as silent:
        get(server.port, "/hello")  # the loop has accepted the one before by then
        server.close()
        assert silent.recv(1) == b""
    assert refused(server.port)
    server.close()


def test_bind_failure_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.ExitStack() as stack:
        with taken_port() as port, caplog.at_level(logging.WARNING):
            server = HttpServer("the test server", BindAddress("127.0.0.1", port), SITE, retry_s=0.01)
            stack.callback(server.close)
            assert server.port is None
            assert not server.wait_bound(0.05)
        assert server.wait_bound(PATIENCE_S)
        assert server.port == port
        assert get(port, "/hello").status == 200
    assert [record.getMessage() for record in caplog.records] == [
        f"the test server can't listen on 127.0.0.1:{port}: Address already in use"
        f" - another program has the port: `ss -ltnp 'sport = :{port}'` names it; trying again every 0.01 s"
    ]


def test_close_while_trying() -> None:
    with taken_port() as port:
        server = HttpServer("the test server", BindAddress("127.0.0.1", port), SITE)
        server.close()
        assert server.port is None


def test_hard_fail() -> None:
    with taken_port() as port, pytest.raises(ServerError, match=f"can't listen on 127.0.0.1:{port}"):
        HttpServer("the test server", BindAddress("127.0.0.1", port), SITE, hard_fail=True)


def test_an_address_the_node_does_not_have() -> None:
    with pytest.raises(ServerError, match="no interface of this node has the address"):
        listen(BindAddress("192.0.2.1", 0), purpose="the test server")
