"""What the API server sends -> typed events: the lines of a watch, the page of a list, a Status. No I/O.

1. An object that does not decode is `Refused`, with its name where that can be known; the stream goes on.
2. Only what is not JSON at all breaks a stream (`StreamBroken`): nobody can say what was missed.
3. Objects come without their resourceVersion: two that differ in nothing else are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from kproxy.errors import ObjectError, one_line
from kproxy.kube.decode import Decoded, decode_json
from kproxy.kube.wire import CLUSTER_SCOPED, KINDS, KubeObject, namespaced_name

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""A longer line is not waited for: the biggest object that etcd takes has 1.5 MiB by default."""

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a streamed list (KEP-3157)."""

MAX_MESSAGE = 300


class StreamBroken(Exception):
    """The bytes are not what an API server sends; the text says what is wrong."""


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """An object as it is now. `version` is its resourceVersion ("" if it has none)."""

    key: str
    obj: KubeObject
    version: str = ""


class Gone(msgspec.Struct, frozen=True, gc=False):
    """An object was deleted, or does not match the selectors any more."""

    key: str
    version: str = ""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An object that can't be used. `key` is "" where it can't be known."""

    key: str
    error: ObjectError
    version: str = ""


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """All events up to `version` were sent. `initial_end`: the initial objects of a streamed list are complete."""

    version: str
    initial_end: bool


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A Status: what the API server can't or won't do. `retry_after_s` is 0 where it does not say."""

    code: int
    reason: str = ""
    message: str = ""
    retry_after_s: float = 0.0


Event = Arrived | Gone | Refused | Bookmark | Failure


class ListPage(msgspec.Struct, frozen=True, gc=False):
    """One page of a list. `version` is the list's; `continue_token` is "" on the last page."""

    objects: list[Arrived | Refused]
    version: str
    continue_token: str


class _Event(msgspec.Struct, Generic[T], gc=False):
    type: str
    object: T


class _Meta(msgspec.Struct, rename="camel", gc=False):
    resource_version: str | None = None
    annotations: dict[str, str] | None = None


class _HasMeta(msgspec.Struct, gc=False):
    metadata: _Meta


class _ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "continue_token": "continue"}, gc=False):
    resource_version: str | None = None
    continue_token: str | None = None


class _List(msgspec.Struct, Generic[T], gc=False):
    metadata: _ListMeta
    items: list[T] | None = None


class _Details(msgspec.Struct, rename="camel", gc=False):
    retry_after_seconds: int | None = None


class _Status(msgspec.Struct, gc=False):
    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: _Details | None = None


# The same two for a type that only the running program knows.
_EVENT: Any = _Event
_LIST: Any = _List

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class WatchStream:
    """The body of one watch of one kind: fed with chunks of any size, it gives one event per line."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[_Event[KubeObject]] = msgspec.json.Decoder(_EVENT[KINDS[kind]])
        self._parts: list[bytes] = []
        self._held = 0

    @property
    def in_line(self) -> bool:
        """Whether the stream stands in the middle of an event."""
        return self._held > 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are complete now. Raises StreamBroken after those before the fault."""
        lines = data.split(b"\n")
        self._parts.append(lines[0])
        self._held += len(lines[0])
        if len(lines) > 1:
            lines[0] = b"".join(self._parts)
            rest = lines.pop()
            self._parts = [rest]
            self._held = len(rest)
            for line in lines:
                if line and not line.isspace():
                    event = self._event(line)
                    if event is not None:
                        yield event
        if self._held > MAX_LINE_BYTES:
            raise StreamBroken(f"an event of more than {MAX_LINE_BYTES:,} bytes")

    def _event(self, line: bytes) -> Event | None:
        try:
            event = self._decoder.decode(line)
        except _UNREADABLE:
            return self._awkward(line)
        meta = event.object.metadata
        if event.type == "BOOKMARK":
            return _bookmark(meta.resource_version, meta.annotations)
        if not meta.name or (not meta.namespace and self._kind not in CLUSTER_SCOPED):
            return self._awkward(line)
        if event.type in ("ADDED", "MODIFIED"):
            return _arrived(event.object)
        if event.type == "DELETED":
            return Gone(namespaced_name(event.object), meta.resource_version or "")
        return self._awkward(line)

    def _awkward(self, line: bytes) -> Event | None:
        """Read an event that is an error, or whose object is not as expected."""
        event = _read(line, _Event[msgspec.Raw])
        if event is None:
            raise StreamBroken("an event that is not JSON")
        raw = bytes(event.object)
        if event.type == "ERROR":
            return read_status(raw)
        if event.type == "BOOKMARK":
            bookmark = _read(raw, _HasMeta)
            if bookmark is None:
                raise StreamBroken("a bookmark without metadata")
            return _bookmark(bookmark.metadata.resource_version, bookmark.metadata.annotations)
        if event.type not in ("ADDED", "MODIFIED", "DELETED"):
            return None  # of a later version of the API: events were added before (BOOKMARK)
        found = _one(self._kind, raw)
        if event.type == "DELETED" and found.key:
            return Gone(found.key, found.version)
        return found


def read_list(kind: str, body: bytes) -> ListPage:
    """Read the body of a list response. Raises StreamBroken if it is none."""
    objects: list[Arrived | Refused]
    try:
        page = msgspec.json.decode(body, type=_LIST[KINDS[kind]])
        items: list[KubeObject] = page.items or []
        if not all(item.metadata.name and (item.metadata.namespace or kind in CLUSTER_SCOPED) for item in items):
            raise msgspec.ValidationError
        objects = [_arrived(item) for item in items]
        meta: _ListMeta = page.metadata
    except _UNREADABLE:
        raw = _read(body, _List[msgspec.Raw])
        if raw is None:
            raise StreamBroken("a list that is not JSON, or not a list") from None
        objects = [_one(kind, bytes(item)) for item in raw.items or []]
        meta = raw.metadata
    return ListPage(objects, meta.resource_version or "", meta.continue_token or "")


def read_status(body: bytes, code: int = 0, retry_after_s: float = 0.0) -> Failure:
    """Read a Status, or whatever else the body of an error is (a proxy's HTML); `code` is the response's."""
    status = _read(body, _Status)
    if status is None:
        text = one_line(" ".join(body[: 4 * MAX_MESSAGE].decode("utf-8", "replace").split()))
        return Failure(code, "", text[:MAX_MESSAGE], retry_after_s)
    told_s = status.details.retry_after_seconds if status.details else None
    message = one_line(status.message or "")[:MAX_MESSAGE]
    return Failure(code or status.code or 0, status.reason or "", message, retry_after_s or max(0.0, told_s or 0.0))


def _one(kind: str, raw: bytes) -> Arrived | Refused:
    """Read one object with care. Whatever can't be used is refused with all that is known of it."""
    meta = _read(raw, _HasMeta)
    version = meta.metadata.resource_version or "" if meta is not None else ""
    outcome = next(decode_json(raw, item_kind=kind), None)
    if isinstance(outcome, Decoded) and outcome.kind == kind:
        return _arrived(outcome.obj)
    if outcome is None or isinstance(outcome, Decoded):
        return Refused("", ObjectError(kind, "kind", f"not a {kind}"), version)
    key = outcome.key
    if not key:
        # Its name may be legible where the rest is not UTF-8.
        legible = next(decode_json(_legible(raw), item_kind=kind), None)
        key = legible.key if legible is not None and legible.kind == kind else ""
    return Refused(key, ObjectError(f"{kind} {one_line(key) or '(no name)'}", outcome.field, outcome.what), version)


def _arrived(obj: KubeObject) -> Arrived:
    meta = obj.metadata
    bare = msgspec.structs.replace(obj, metadata=msgspec.structs.replace(meta, resource_version=None))
    return Arrived(namespaced_name(bare), bare, meta.resource_version or "")


def _bookmark(version: str | None, annotations: dict[str, str] | None) -> Bookmark:
    return Bookmark(version or "", (annotations or {}).get(INITIAL_EVENTS_END) == "true")


def _read(raw: bytes, to: type[T]) -> T | None:
    """Decode raw JSON, if need be with U+FFFD for what is not UTF-8; None: it can't be."""
    for text in (raw, _legible(raw)):
        try:
            return msgspec.json.decode(text, type=to)
        except _UNREADABLE:
            continue
    return None


def _legible(raw: bytes) -> bytes:
    return raw.decode("utf-8", "replace").encode()
