"""The fault proxy does what it says, seen from a client's socket and from a client of the real API server."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.controlplane import Api, FaultProxy, pki
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.controlplane import ControlPlane

pytestmark = pytest.mark.root

SERVICES = "/api/v1/services"
PATIENCE_S = 0.4
#: States of a TCP connection (the kernel's numbers): open; closed by a reset; the other side has sent a FIN.
ESTABLISHED, RESET, FINISHED = 1, 7, 8


@pytest.fixture(scope="module")
def proxy(control: ControlPlane) -> Iterator[FaultProxy]:
    with control.faults() as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _healed(proxy: FaultProxy) -> Iterator[None]:
    yield
    proxy.heal()
    proxy.break_connections()
    eventually(lambda: proxy.open_connections == 0, "no connection is left")


def api(control: ControlPlane, proxy: FaultProxy) -> Api:
    context = pki.client_context(control.authority.certificate)
    return Api(control.namespace, proxy.address, context, control.service_account_token(), timeout_s=PATIENCE_S)


class Stream:
    """A watch of the Services through the proxy, as bytes."""

    def __init__(self, control: ControlPlane, proxy: FaultProxy, request: str = f"{SERVICES}?watch=1") -> None:
        raw = control.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        raw.settimeout(5)
        raw.connect(proxy.address)
        context = pki.client_context(control.authority.certificate)
        self.socket: ssl.SSLSocket = context.wrap_socket(
            raw, server_hostname=control.address, suppress_ragged_eofs=True
        )
        head = (
            f"GET {request} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {control.service_account_token()}\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        self.seen = b""

    def until(self, marker: bytes) -> bytes:
        while marker not in self.seen:
            data = self.socket.recv(65536)
            assert data, f"the stream ended: {self.seen!r}"
            self.seen += data
        return self.seen

    def rest(self) -> bytes:
        """Everything up to the end; OSError when that is not a FIN."""
        while data := self.socket.recv(65536):
            self.seen += data
        return self.seen

    def end(self) -> int:
        """Wait for the end; returns the state of the connection then. Python's TLS does not tell a reset from a FIN."""
        with contextlib.suppress(ConnectionResetError):
            self.rest()
        eventually(lambda: self._state() != ESTABLISHED, "the TCP connection has ended after TLS has")
        return self._state()

    def _state(self) -> int:
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()


@contextlib.contextmanager
def watching(control: ControlPlane, proxy: FaultProxy) -> Iterator[Stream]:
    """A watch that has said something already."""
    with Stream(control, proxy) as stream:
        stream.until(b'"name":"kubernetes"')
        yield stream


def test_without_a_fault_everything_passes(control: ControlPlane, proxy: FaultProxy) -> None:
    with api(control, proxy) as through, control.api() as straight:
        assert through.get(SERVICES).checked()["items"] == straight.get(SERVICES).checked()["items"]


def test_cut(control: ControlPlane, proxy: FaultProxy) -> None:
    with watching(control, proxy) as stream, api(control, proxy) as client:
        proxy.cut()
        assert stream.end() == RESET
        with pytest.raises(ConnectionRefusedError):
            client.get("/version")
        proxy.heal()
        assert client.get("/version").status == 200


def test_cut_by_a_fin(control: ControlPlane, proxy: FaultProxy) -> None:
    with watching(control, proxy) as stream:
        proxy.cut(reset=False)
        assert stream.end() == FINISHED
        assert not stream.seen.endswith(b"0\r\n\r\n"), "the body ended properly"


def test_connections_are_broken_and_new_ones_work(control: ControlPlane, proxy: FaultProxy) -> None:
    with watching(control, proxy) as stream, api(control, proxy) as client:
        proxy.break_connections()
        assert stream.end() == RESET
        assert client.get("/version").status == 200


def test_stall(control: ControlPlane, proxy: FaultProxy) -> None:
    """The held stream gets nothing, nor does a new client an answer; once healed, both get what was under way."""
    with watching(control, proxy) as stream, api(control, proxy) as client, control.api() as admin:
        proxy.stall()
        label(admin, "stalled")
        stream.socket.settimeout(PATIENCE_S)
        with pytest.raises(TimeoutError):
            stream.until(b"stalled")
        with pytest.raises(TimeoutError):
            client.get("/version")
        proxy.heal()
        stream.socket.settimeout(5)
        stream.until(b"stalled")
        assert client.get("/version").status == 200


def test_freeze(control: ControlPlane, proxy: FaultProxy) -> None:
    """The held stream stays open and silent, also when all is well again; a new connection works at once."""
    with watching(control, proxy) as stream, api(control, proxy) as client, control.api() as admin:
        proxy.freeze()
        label(admin, "frozen")
        assert client.get("/version").status == 200
        proxy.heal()
        stream.socket.settimeout(PATIENCE_S)
        with pytest.raises(TimeoutError):
            stream.until(b"frozen")


def test_new_connections_are_refused_and_old_ones_work(control: ControlPlane, proxy: FaultProxy) -> None:
    with watching(control, proxy) as stream, api(control, proxy) as client, control.api() as admin:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            client.get("/version")
        label(admin, "refused")
        stream.until(b"refused")


def test_half_close(control: ControlPlane, proxy: FaultProxy) -> None:
    """The client sees the end; its own direction is open."""
    with watching(control, proxy) as stream:
        proxy.half_close()
        assert stream.end() == FINISHED
        assert proxy.open_connections == 1


@pytest.mark.parametrize("count", [1, 700])
def test_truncated_after_a_number_of_bytes(control: ControlPlane, proxy: FaultProxy, count: int) -> None:
    fired = proxy.fired
    proxy.truncate_after(count)
    with Stream(control, proxy) as stream:
        assert len(stream.rest()) == count
    assert proxy.fired == fired + 1
    proxy.heal()
    with watching(control, proxy):
        pass


def behind_whole_chunks(response: bytes) -> bytes:
    """What is left of a chunked response after the last chunk that is complete."""
    left = response.partition(b"\r\n\r\n")[2]
    while head := re.match(rb"([0-9a-f]+)\r\n", left):
        end = head.end() + int(head[1], 16) + len(b"\r\n")
        if len(left) < end:
            break
        left = left[end:]
    return left


def test_a_stream_that_is_open_is_truncated_too(control: ControlPlane, proxy: FaultProxy) -> None:
    with watching(control, proxy) as stream, control.api() as admin:
        proxy.truncate_after(10)
        label(admin, "truncated")
        # What the proxy passed on before may come late. The server sends whole chunks, and ten octets are no whole one.
        assert len(behind_whole_chunks(stream.rest())) == 10


def test_truncated_in_the_middle_of_a_line_and_of_a_character(control: ControlPlane, proxy: FaultProxy) -> None:
    with control.api() as admin:
        service = "/api/v1/namespaces/default/services/kubernetes"
        admin.request("PATCH", service, {"metadata": {"annotations": {"note": "café"}}}).checked()
        half = "café".encode()[:-1]
        proxy.truncate_behind(half)
        with Stream(control, proxy) as stream:
            line = stream.rest().rpartition(b"\n")[2]
        assert line.endswith(half)
        with pytest.raises(UnicodeDecodeError):
            line.decode()
        proxy.heal()
        admin.request("PATCH", service, {"metadata": {"annotations": {"note": None}}}).checked()


@pytest.mark.parametrize("status", [429, 503])
def test_it_answers_in_the_servers_place(control: ControlPlane, proxy: FaultProxy, status: int) -> None:
    """On new connections and on those that are open already."""
    said = json.dumps({"kind": "Status", "code": status})
    with api(control, proxy) as kept, api(control, proxy) as fresh:
        assert kept.get("/version").status == 200
        proxy.answer(status, {"Retry-After": "1"}, said, times=2)
        assert [kept.get("/version").status, fresh.get("/version").status] == [status, status]
        assert kept.get("/version").status == 200


def test_its_answer_has_the_headers(control: ControlPlane, proxy: FaultProxy) -> None:
    proxy.answer(429, {"Retry-After": "7"})
    with Stream(control, proxy) as stream:
        head = stream.rest().decode()
    assert "HTTP/1.1 429" in head
    assert "Retry-After: 7\r\n" in head


def test_tls_passes_through_where_it_is_not_ended(control: ControlPlane) -> None:
    """A client certificate arrives; faults that need to see HTTP are refused."""
    with control.faults(terminate_tls=False, port=7444) as proxy:
        pair = control.client_certificate("through", "through", ["system:masters"])
        context = pki.client_context(control.authority.certificate, pair)
        with Api(control.namespace, proxy.address, context) as client:
            assert client.get("/api/v1/secrets").status == 200
            proxy.truncate_after(5)
            with pytest.raises((OSError, http.client.HTTPException)):
                client.get("/api/v1/secrets")
        with pytest.raises(ValueError, match="TLS"):
            proxy.truncate_behind(b"x")
        with pytest.raises(ValueError, match="TLS"):
            proxy.answer(500)


def test_the_servers_own_refusal_is_passed_on(control: ControlPlane) -> None:
    upstream = (control.address, 1)
    with FaultProxy(control.namespace, (control.address, 7445), upstream) as proxy:
        context = pki.client_context(control.authority.certificate)
        with Api(control.namespace, proxy.address, context) as client, pytest.raises((ConnectionError, ssl.SSLError)):
            client.get("/version")


def label(admin: Api, value: str) -> None:
    """A change that every watch of Services is told of."""
    path = "/api/v1/namespaces/default/services/kubernetes"
    admin.request("PATCH", path, {"metadata": {"labels": {"seen": value}}}).checked()
