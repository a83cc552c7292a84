"""Connections through a relay, over this machine's loopback: what one side does, the other one sees."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.relay import LOOPBACK, Relay
from kproxy.plan.localhost_ports import LocalhostPort
from kproxy.state.addresses import FAMILIES, Family
from tests.health.client import PATIENCE_S, free_ports, needs_ipv6, refused, taken_port
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

V4 = Family.IPV4


class Server:
    """An endpoint: it answers with its name, sends back what it is sent, and then ends its side."""

    def __init__(self, name: str, family: Family = V4) -> None:
        kind = socket.AF_INET if family is V4 else socket.AF_INET6
        self.name = name
        self._socket = socket.create_server((LOOPBACK[family], 0), family=kind)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(f"{self.name}\n".encode())
            while data := connection.recv(65536):
                connection.sendall(data)


@contextlib.contextmanager
def servers(*names: str, family: Family = V4) -> Iterator[tuple[Server, ...]]:
    made = tuple(Server(name, family) for name in names)
    try:
        yield made
    finally:
        for server in made:
            server.close()


@contextlib.contextmanager
def relay(family: Family = V4) -> Iterator[Relay]:
    made = Relay(family)
    try:
        yield made
    finally:
        made.close()


def connect(port: int, family: Family = V4) -> socket.socket:
    return socket.create_connection((LOOPBACK[family], port), timeout=PATIENCE_S)


def answer(connection: socket.socket) -> str:
    """What comes until the other side ends."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts).decode()


def who(port: int) -> str:
    with connect(port) as connection:
        connection.shutdown(socket.SHUT_WR)
        return answer(connection).strip()


def port_to(number: int, *to: Server, affinity_s: int | None = None) -> dict[int, LocalhostPort]:
    return {number: LocalhostPort(number, tuple(server.address for server in to), affinity_s)}


@pytest.mark.parametrize("family", [V4, pytest.param(Family.IPV6, marks=needs_ipv6)])
def test_all_that_is_sent_arrives_and_the_end_of_one_side_is_not_that_of_the_other(family: Family) -> None:
    (number,) = free_ports(1)
    sent = "x" * 3_000_000
    with servers("a", family=family) as (server,), relay(family) as made:
        made.serve(port_to(number, server))
        assert made.count == 1
        with connect(number, family) as connection:

            def send() -> None:
                connection.sendall(sent.encode())
                connection.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            assert answer(connection) == f"a\n{sent}"
            sender.join()


def test_connections_are_spread_and_affinity_keeps_them_together() -> None:
    (number,) = free_ports(1)
    with servers("a", "b") as both, relay() as made:
        made.serve(port_to(number, *both))
        assert {who(number) for _ in range(40)} == {"a", "b"}
        made.serve(port_to(number, *both, affinity_s=60))
        assert len({who(number) for _ in range(20)}) == 1


def test_a_pin_does_not_outlive_its_endpoint() -> None:
    (number,) = free_ports(1)
    with servers("a", "b") as (a, b), relay() as made:
        made.serve(port_to(number, a, affinity_s=60))
        assert who(number) == "a"
        made.serve(port_to(number, b, affinity_s=60))
        assert who(number) == "b"


def test_a_connection_outlives_its_endpoint_but_not_its_port() -> None:
    (number,) = free_ports(1)
    with servers("a", "b") as (a, b), relay() as made:
        made.serve(port_to(number, a))
        with connect(number) as connection:
            assert connection.recv(16) == b"a\n"
            made.serve(port_to(number, b))
            assert who(number) == "b"
            connection.sendall(b"still there")
            assert connection.recv(16) == b"still there"
            made.serve({})
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(16) == b""
        eventually(lambda: refused(number), "nobody listens any more")


def test_an_endpoint_that_is_not_there_ends_the_connection() -> None:
    (number, nobody) = free_ports(2)
    with relay() as made:
        made.serve({number: LocalhostPort(number, (("127.0.0.1", nobody),))})
        with connect(number) as connection:
            assert answer(connection) == ""


def test_a_port_that_is_taken_is_counted_and_harms_no_other() -> None:
    failures: list[None] = []
    (number,) = free_ports(1)
    with taken_port() as taken, servers("a") as (server,):
        made = Relay(V4, lambda: failures.append(None))
        try:
            made.serve(port_to(taken, server) | port_to(number, server))
            assert (made.count, len(failures)) == (1, 1)
            assert who(number) == "a"
        finally:
            made.close()
    assert set(LOOPBACK) == set(FAMILIES)
