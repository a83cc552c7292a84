"""Events reach the API server, and nothing that goes wrong with them reaches the agent."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.events import outbox as outbox_module
from kproxy.events.event import health_check_failed, started
from kproxy.events.log import EventLog
from kproxy.events.sender import EventSender
from kproxy.kube.backoff import BackOffPolicy
from kproxy.kube.credentials import Plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE_S = 20.0


class Desk:
    """An API server for Events alone: `answers` are used up one per request, then it is 201."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.arrived = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/base"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = next(int(line.split(": ")[1]) for line in head if line.lower().startswith("content-length"))
        body = json.loads(await reader.readexactly(length))
        self.requests.append((head[0], body))
        answer = self.answers.pop(0) if self.answers else 201
        if isinstance(answer, int):
            text = json.dumps({"kind": "Status", "reason": "Told", "message": "so", "code": answer})
            writer.write(f"HTTP/1.1 {answer} X\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        elif answer:
            writer.write(answer.encode())
        writer.close()
        self.arrived.set()

    async def until(self, count: int) -> None:
        while len(self.requests) < count:
            self.arrived.clear()
            await self.arrived.wait()

    @property
    def reasons(self) -> list[str]:
        return [body["reason"] for _, body in self.requests]


@asynccontextmanager
async def sending(*answers: int | str) -> AsyncIterator[tuple[Desk, EventSender]]:
    desk = Desk(*answers)
    server = await asyncio.start_server(desk.serve, "127.0.0.1", 0)
    desk.port = server.sockets[0].getsockname()[1]
    sender = EventSender(Plain(desk.url), "node-a")
    running = asyncio.create_task(sender.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield desk, sender
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "RETRY", BackOffPolicy(0.01, 0.02))


def test_an_event_is_created(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with sending() as (desk, sender):
            sender.record(started("node-a"))
            await desk.until(1)
            [(line, body)] = desk.requests
            assert line == "POST /base/apis/events.k8s.io/v1/namespaces/default/events HTTP/1.1"
            assert body["regarding"]["name"] == "node-a"

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert caplog.messages == ["Node node-a: Starting"]


def test_what_repeats_itself_is_created_once() -> None:
    async def run() -> None:
        async with sending() as (desk, sender):
            for _ in range(100):
                sender.record(health_check_failed("lab", "web", "node-a", "taken"))
            sender.record(started("node-a"))
            await desk.until(2)
            assert desk.reasons == ["FailedToStartServiceHealthcheck", "Starting"]

    asyncio.run(run())


@pytest.mark.parametrize("answer", [500, 503, 429, 401, 403, "", "nonsense\r\n\r\n"])
def test_what_may_heal_is_tried_again_and_said_once(answer: int | str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with sending(answer, answer, answer) as (desk, sender):
            sender.record(started("node-a"))
            await desk.until(4)
            assert [body for _, body in desk.requests] == [desk.requests[0][1]] * 4
            while "Events are created again" not in caplog.messages:
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert len([text for text in caplog.messages if text.startswith("Events can't be created at http://")]) == 1


@pytest.mark.parametrize("answer", [404, 422, 400])
def test_what_can_not_heal_is_dropped(answer: int) -> None:
    async def run() -> None:
        async with sending(answer) as (desk, sender):
            sender.record(started("node-a"))
            await desk.until(1)
            sender.record(health_check_failed("lab", "web", "node-a", "taken"))
            await desk.until(2)
            assert desk.reasons == ["Starting", "FailedToStartServiceHealthcheck"]

    asyncio.run(run())


def test_one_that_is_there_already_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    """The answer to the first attempt got lost."""

    async def run() -> None:
        async with sending("", 409) as (desk, sender):
            sender.record(started("node-a"))
            await desk.until(2)
            while "Events are created again" not in caplog.messages:
                await asyncio.sleep(0.01)
            assert len(desk.requests) == 2

    with caplog.at_level(logging.INFO):
        asyncio.run(run())


def test_a_forbidden_one_names_the_rights(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with sending(403) as (desk, sender):
            sender.record(started("node-a"))
            await desk.until(2)

    asyncio.run(run())
    assert caplog.messages[0].endswith(": 403 Told so - grant what deploy/rbac.yaml holds")


def test_recording_neither_waits_nor_fails_without_a_server(caplog: pytest.LogCaptureFixture) -> None:
    sender = EventSender(Plain("http://127.0.0.1:1"), "node-a")
    for number in range(1_000):
        sender.record(health_check_failed("lab", f"web-{number}", "node-a", "taken"))
    assert len(caplog.messages) == 1_000


def test_the_last_word_is_waited_for_but_not_for_long() -> None:
    async def run() -> None:
        desk = Desk()
        server = await asyncio.start_server(desk.serve, "127.0.0.1", 0)
        desk.port = server.sockets[0].getsockname()[1]
        sender = EventSender(Plain(desk.url), "node-a")
        sender.record(started("node-a"))
        await sender.flush(PATIENCE_S)
        assert desk.reasons == ["Starting"]
        server.close()
        sender.record(health_check_failed("lab", "web", "node-a", "taken"))
        await sender.flush(0.1)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_without_an_api_server_events_are_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    events = EventLog()
    with caplog.at_level(logging.INFO):
        events.record(started("node-a"))
        for _ in range(3):
            events.record(health_check_failed("lab", "web", "node-a", "the port is taken"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Node node-a: Starting"),
        ("WARNING", "Service lab/web: FailedToStartServiceHealthcheck: node node-a: the port is taken"),
    ]
