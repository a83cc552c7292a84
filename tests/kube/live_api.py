"""A small API server on 127.0.0.1 that does what it is told: objects, watches, and faults of every kind."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from kproxy.kube.backoff import BackOffPolicy
from kproxy.kube.requests import Timing
from tests.kube import texts
from tests.kube.texts import bookmark, line, page

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

SOON = BackOffPolicy(0.01, 0.05)
#: Everything at once; what a test does not provoke never passes its deadline.
FAST = Timing(short_watch_s=0.0, settled_s=0.0, lists_settled_s=0.0, failures=SOON, lists=SOON, unreachable=SOON)

PATHS = {
    "/api/v1/services": "Service",
    "/apis/discovery.k8s.io/v1/endpointslices": "EndpointSlice",
    "/api/v1/nodes": "Node",
    "/apis/networking.k8s.io/v1/servicecidrs": "ServiceCIDR",
}


@dataclass
class Call:
    """One request that came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    writer: asyncio.StreamWriter

    def head(self, status: int, headers: str = "") -> None:
        self.writer.write(f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode())

    def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")

    @property
    def lists(self) -> bool:
        return "resourceVersion" not in self.query and "continue" not in self.query


@dataclass
class LiveApi:
    """`faults` are used up one per request of their path: a status, or what to do with an answer.

    "cut", "stall", "half-close": after the initial objects and part of an event. "401" and other numbers: a status.
    "retry": a 429 with Retry-After.
    """

    streams_lists: bool = True
    #: The Authorization header that is accepted; None: whatever comes.
    authorization: str | None = None
    base: str = ""
    port: int = 0
    version: int = 10
    floor: int = 0
    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in PATHS.values()})
    history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base}"

    async def put(self, obj: dict[str, Any]) -> None:
        kind, name = obj["kind"], obj["metadata"]["name"]
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, kind, "MODIFIED" if name in self.objects[kind] else "ADDED", obj))
        self.objects[kind][name] = obj
        await self._notify()

    async def delete(self, kind: str, name: str) -> None:
        self.version += 1
        obj = self.objects[kind].pop(name)
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self.history.append((self.version, kind, "DELETED", obj))
        await self._notify()

    async def compact(self) -> None:
        """Forget the history: whoever comes back is told 410."""
        self.version += 1
        self.floor = self.version
        self.history.clear()

    async def cut(self) -> None:
        """Reset all connections."""
        for writer in list(self.open):
            writer.transport.abort()

    async def calls_of(self, kind: str, count: int) -> list[Call]:
        """Wait until there were so many requests for a kind."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self._calls(kind)) >= count)
        return self._calls(kind)

    def _calls(self, kind: str) -> list[Call]:
        return [call for call in self.calls if PATHS.get(call.path.removeprefix(self.base)) == kind]

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            target = urlsplit(head[0].split(" ")[1])
            query = {key: values[0] for key, values in parse_qs(target.query, strict_parsing=True).items()}
            headers = dict(entry.lower().split(": ", 1) for entry in head[1:] if entry)
            headers |= {k.lower(): v for k, v in (entry.split(": ", 1) for entry in head[1:] if entry)}
            call = Call(target.path, query, headers, writer)
            self.calls.append(call)
            await self._notify()
            gone = asyncio.ensure_future(reader.read())
            answer = asyncio.ensure_future(self._answer(call))
            await asyncio.wait([gone, answer], return_when=asyncio.FIRST_COMPLETED)
            for task in (gone, answer):
                task.cancel()
            await asyncio.gather(gone, answer, return_exceptions=True)
        self.open.discard(writer)
        writer.close()

    async def _answer(self, call: Call) -> None:
        kind = PATHS[call.path.removeprefix(self.base)]
        faults = self.faults.get(kind, [])
        fault = faults.pop(0) if faults else ""
        if self.authorization is not None and call.headers.get("authorization") != self.authorization:
            fault = "401"
        if fault.isdigit() or fault == "retry":
            self._status(call, int(fault) if fault.isdigit() else 429, "Retry-After: 1\r\n" if fault == "retry" else "")
        elif call.query.get("watch") != "true":
            await self._list(call, kind, fault)
        elif call.lists and not self.streams_lists:
            self._status(call, 422)
        elif not call.lists and int(call.query["resourceVersion"]) < self.floor:
            self._status(call, 410)
        else:
            await self._watch(call, kind, fault)
        await call.writer.drain()

    def _status(self, call: Call, code: int, headers: str = "") -> None:
        call.head(code, headers)
        call.chunk(json.dumps(texts.status(code, "Told", "so")).encode())
        call.end()

    async def _list(self, call: Call, kind: str, fault: str) -> None:
        body = page(list(self.objects[kind].values()), self.version, kind=kind)
        call.head(200)
        if fault:
            call.chunk(body[: len(body) // 2])
            await self._break(call, fault)
        else:
            call.chunk(body)
            call.end()

    async def _watch(self, call: Call, kind: str, fault: str) -> None:
        call.head(200)
        cursor = int(call.query.get("resourceVersion", self.version))
        if call.lists:
            for obj in self.objects[kind].values():
                call.chunk(line("ADDED", obj))
            call.chunk(bookmark(self.version, end=True, kind=kind))
        if fault:
            torn = line("ADDED", {**texts.service("é"), "kind": kind})
            call.chunk(torn[: torn.index("é".encode()) + 1])  # in the middle of a character
            await self._break(call, fault)
            return
        while True:
            for version, of, event, obj in self.history:
                if of == kind and version > cursor:
                    call.chunk(line(event, obj))
            cursor = self.version
            await call.writer.drain()
            async with self.changed:
                await self.changed.wait_for(lambda: self.version > cursor)  # noqa: B023

    async def _break(self, call: Call, fault: str) -> None:
        await call.writer.drain()
        match fault:
            case "cut":
                call.writer.transport.abort()
            case "half-close":
                call.writer.write_eof()
                await asyncio.Event().wait()
            case "stall":
                await asyncio.Event().wait()
            case "end":
                call.end()


@asynccontextmanager
async def live_api(api: LiveApi | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[LiveApi]:
    """Serve on a free port of 127.0.0.1 (or again on `api.port`)."""
    api = api or LiveApi()
    server = await asyncio.start_server(api.serve, "127.0.0.1", api.port, ssl=tls)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        await api.cut()
        while api.open:
            await asyncio.sleep(0)
