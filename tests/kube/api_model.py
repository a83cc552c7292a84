"""An API server in a few lines: versions, history, compaction, pages, watches and streamed lists. No sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.kube import texts
from tests.kube.texts import bookmark, line, page, service

Query = dict[str, str]


@dataclass
class Answer:
    """A status and a body; `open` if more of it comes later (a watch), from version `cursor` on."""

    status: int
    body: bytes
    open: bool = False
    cursor: int = 0


@dataclass
class ApiModel:
    """Services by name. Every write is a version; `floor` is the oldest version a watch can begin at."""

    streams_lists: bool = True
    version: int = 1
    floor: int = 0
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    snapshots: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def put(self, name: str, ip: str, *, bad: bool = False) -> None:
        self.version += 1
        obj = service(name, self.version, ip)
        if bad:
            obj["spec"]["ports"] = [{"port": "eighty"}]
        self.history.append((self.version, "MODIFIED" if name in self.objects else "ADDED", obj))
        self.objects[name] = obj

    def delete(self, name: str) -> None:
        if name in self.objects:
            self.version += 1
            obj = self.objects.pop(name)
            obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
            self.history.append((self.version, "DELETED", obj))

    def compact(self) -> None:
        self.version += 1
        self.floor = self.version
        self.history.clear()
        self.snapshots.clear()

    def answer(self, query: Query) -> Answer:
        if query.get("watch") != "true":
            return self._list(query)
        assert query["allowWatchBookmarks"] == "true"
        if "resourceVersion" in query:
            cursor = int(query["resourceVersion"])
            if cursor < self.floor:
                # It comes as a status or in the stream.
                if cursor % 2:
                    return Answer(410, line("", texts.EXPIRED))
                return Answer(200, line("ERROR", texts.EXPIRED))
            return Answer(200, b"", open=True, cursor=cursor)
        assert query["sendInitialEvents"] == "true"
        assert query["resourceVersionMatch"] == "NotOlderThan"
        if not self.streams_lists:
            return Answer(
                422, b'{"kind":"Status","code":422,"reason":"Invalid","message":"sendInitialEvents: Forbidden"}'
            )
        body = b"".join(line("ADDED", obj) for _, obj in sorted(self.objects.items()))
        return Answer(200, body + bookmark(self.version, end=True), open=True, cursor=self.version)

    def news(self, cursor: int) -> tuple[bytes, int]:
        """What a watch that stands at `cursor` gets now, and where it stands then."""
        if cursor < self.floor:
            return line("ERROR", texts.EXPIRED), cursor
        events = b"".join(line(kind, obj) for version, kind, obj in self.history if version > cursor)
        return events, self.version

    def _list(self, query: Query) -> Answer:
        token = query.get("continue", "")
        version, start = (int(part) for part in token.split("-")) if token else (self.version, 0)
        self.snapshots.setdefault(self.version, dict(self.objects))
        if version not in self.snapshots:
            return Answer(410, line("", texts.EXPIRED))
        objects = [obj for _, obj in sorted(self.snapshots[version].items())]
        end = start + int(query.get("limit", len(objects) or 1))
        rest = f"{version}-{end}" if end < len(objects) else ""
        return Answer(200, page(objects[start:end], version, rest))
