"""Whose the node's addresses are at the end of a process: the one before or the one after may be serving them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

from kproxy.dns.server import local as local_module
from kproxy.dns.server.config import build_dns_config
from kproxy.dns.server.local import LocalAddresses
from kproxy.dns.server.service import DnsService
from kproxy.errors import KernelError
from kproxy.sources.directory import ManifestDirectory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from kproxy.health.bind import BindAddress


class Source:
    """A source that says nothing; so nothing is ever known."""

    async def changes(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


class Local:
    """Notes what is done with the addresses."""

    def __init__(self, addresses: Sequence[BindAddress]) -> None:
        self.addresses = addresses
        self.done: list[str] = []

    def make(self) -> list[str]:
        return []

    async def lead(self, *_: object) -> None:
        await asyncio.Event().wait()

    def withdraw(self, _why: str) -> None:
        self.done.append("withdraw")

    def remove(self, addresses: Sequence[BindAddress]) -> None:
        self.done += [address.host for address in addresses]


def other(host: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    return sock


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize(
    ("served", "done"),
    [
        ((), ["withdraw", "127.0.0.1", "127.0.0.2"]),
        (("127.0.0.1",), ["withdraw", "127.0.0.2"]),  # the next one is configured otherwise
        (("127.0.0.1", "127.0.0.2"), []),
    ],
)
def test_they_are_left_to_another_process_and_taken_away_otherwise(
    tmp_path: Path, listens: bool, served: Sequence[str], done: list[str]
) -> None:
    async def run() -> list[str]:
        port = holder.getsockname()[1]
        bound = tuple(f"127.0.0.{number}:{port}" for number in (1, 2))
        config = build_dns_config({"dns_bind_address": bound, "dns_upstream": ("192.0.2.1",)})
        source = ManifestDirectory.given(tmp_path) if listens else Source()
        local = Local(config.addresses)
        service = DnsService(config, cast("Any", source), cast("Any", local))
        running = asyncio.create_task(service.run())
        while service.not_ready() if listens else not service._workers[0].running:
            await asyncio.sleep(0.01)
        holder.close()
        with ExitStack() as others:
            for host in served:
                others.enter_context(other(host, port))
            service._stopping.set()
            await running
        return local.done

    with other("127.0.0.1") as holder:
        assert asyncio.run(run()) == done


def test_what_others_take_away_is_put_back_and_a_fault_of_the_kernel_is_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[list[str]] = [[], [], ["169.254.20.10"]]
    served: list[Exception | None] = [None, KernelError("out of luck"), None]

    class Addresses(LocalAddresses):
        def make(self) -> list[str]:
            if not made:
                raise asyncio.CancelledError
            return made.pop(0)

        def serve(self) -> None:
            if error := served.pop(0):
                raise error
            self.serving = True

        def withdraw(self, why: str) -> None:
            self.serving = False
            withdrawn.append(why)

    async def well(*_: object) -> str:
        return ""

    withdrawn: list[str] = []
    heard: list[bool] = []
    monkeypatch.setattr(local_module, "what_is_wrong", well)
    monkeypatch.setattr(local_module, "LEAD_S", 0)
    monkeypatch.setattr(local_module, "LEAD_AGAIN_S", 0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Addresses([]).lead("cluster.local", lambda: "", heard.append))
    assert (heard, withdrawn) == ([True, False, True], ["out of luck"])
    assert "somebody took 169.254.20.10 away: made again" in caplog.text


def test_what_never_was_possible_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Addresses(LocalAddresses):
        def make(self) -> list[str]:
            raise KernelError("not permitted")

    with pytest.raises(KernelError, match="not permitted"):
        asyncio.run(Addresses([]).lead("cluster.local", lambda: "", lambda _: None))
