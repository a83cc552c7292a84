"""Workers as real processes, on sockets of the loopback."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.message

from kproxy.dns.feed import Listening, Mark, Reached, Setup, encode
from kproxy.dns.server import crew
from kproxy.dns.server.sockets import Open
from tests.lab import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def beginning() -> Iterator[bytes]:
    yield encode(Setup({"domain": "cluster.local"}, [], recursion=False))
    yield encode(Mark(1, synced=True))


async def rcodes(sockets: list[Open]) -> list[int]:
    """Start a worker, give it the sockets once it has begun, ask for the zone on each, and end it."""
    begun = asyncio.Event()
    worker = crew.Worker(
        0, beginning, lambda _, said: begun.set() if isinstance(said, Reached) else None, lambda _: None
    )
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(begun.wait(), scaled(20))
    worker.listen(sockets)
    query = dns.message.make_query("cluster.local.", "SOA")
    found = []
    for one in sockets:
        host, port = one.sock.getsockname()
        found.append(int((await dns.asyncquery.udp(query, host, scaled(5), port)).rcode()))
    worker.drain()
    await asyncio.wait_for(running, scaled(20))
    return found


def opened(stack: ExitStack, count: int) -> list[Open]:
    sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    return [Open(sock, Listening("udp", f"dns://{number}")) for number, sock in enumerate(sockets)]


def test_it_gets_all_sockets_also_where_there_are_many() -> None:
    with ExitStack() as stack:
        assert asyncio.run(rcodes(opened(stack, 40))) == [0] * 40


def test_one_that_can_not_be_started_is_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, tries = subprocess.Popen, iter([BlockingIOError(11, "Resource temporarily unavailable")])

    def popen(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        if error := next(tries, None):
            raise error
        return real(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with ExitStack() as stack:
        assert asyncio.run(rcodes(opened(stack, 1))) == [0]
    assert "DNS worker 0 was not started: resource temporarily unavailable: starting another in 0 s" in caplog.text
