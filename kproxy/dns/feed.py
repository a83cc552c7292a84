"""What the two DNS processes say to each other over their socket: the cluster's objects one way, counts the other.

A message is four octets of length and MessagePack. Objects are the structs of `kube.wire`, as they are. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from kproxy.kube.wire import KINDS
from kproxy.sources.changes import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK: Final = 100
CHUNK_OCTETS: Final = 32 * 1024
"""Changes in one message, and their size: a worker answers queries between two messages, so each is to be small."""

MAX_FDS: Final = 16
"""Descriptors that come with one message; the kernel allows for 253."""


Item = tuple[str, str, bytes | None]
"""An object that came (encoded) or went (None): kind, key, object."""


class Message(msgspec.Struct, tag=True, frozen=True):
    """Base of the messages."""


# To the worker


class Listening(msgspec.Struct, frozen=True):
    """An open socket that the worker gets: "udp" or "tcp", and its name in metrics."""

    protocol: str
    server: str


class Setup(Message, frozen=True):
    """The first message.

    `zone` are the fields of a `ZoneConfig`, `upstreams` pairs of address and port, `transfer_to` networks.
    """

    zone: dict[str, object]
    upstreams: list[tuple[str, int]]
    recursion: bool = True
    verbosity: int = 0
    logging_format: str = "text"
    transfer_to: tuple[str, ...] = ()


class Listen(Message, frozen=True):
    """Answer on these sockets, too; as many descriptors come with the message."""

    sockets: list[Listening]


class Changes(Message, frozen=True):
    """What came or went. `serial` is the SOA's."""

    serial: int
    items: list[Item]


class Mark(Message, frozen=True):
    """Asks for a `Reached` of the same number. `synced`: all there is was said by now."""

    number: int
    synced: bool = False


class Upstreams(Message, frozen=True):
    """Whom to ask from now on."""

    upstreams: list[tuple[str, int]]


class Drain(Message, frozen=True):
    """Take no more queries, answer those that have come, and end."""


# From the worker


class Reached(Message, frozen=True):
    """Everything before a `Mark` is in the answers."""

    number: int


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """Replies of one kind. `source` is what CoreDNS calls the plugin."""

    server: str
    protocol: str
    family: int
    qtype: int
    rcode: int
    query_size: int
    reply_size: int
    dnssec_ok: bool
    source: str
    times: int


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """Durations of one kind, in seconds: how often each of a histogram's buckets was hit, and their sum."""

    name: str
    labels: tuple[str, ...]
    buckets: list[int]
    total: float


class Counts(Message, frozen=True):
    """What happened since the last one. `totals` are counters by name, `levels` gauges."""

    replies: list[Counted]
    samples: list[Sample]
    totals: dict[str, float]
    levels: dict[str, float]


class LoopFound(Message, frozen=True):
    """A query that we sent to an upstream came back to us."""


ToWorker = Setup | Listen | Changes | Mark | Upstreams | Drain
FromWorker = Reached | Counts | LoopFound

_encoder = msgspec.msgpack.Encoder()
_objects: Final = {kind: msgspec.msgpack.Decoder(struct) for kind, struct in KINDS.items()}


def encode(message: Message) -> bytes:
    """Return a message in its frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4) + body


def encode_object(change: Change) -> Item:
    """Return a change as it is sent."""
    return change.kind, change.key, None if change.obj is None else _encoder.encode(change.obj)


def encode_changes(items: Iterable[Item], serial: int) -> Iterator[bytes]:
    """Yield the messages that carry changes, none of them large."""
    some: list[Item] = []
    octets = 0
    for item in items:
        some.append(item)
        octets += len(item[2] or b"")
        if len(some) == CHUNK or octets >= CHUNK_OCTETS:
            yield encode(Changes(serial, some))
            some, octets = [], 0
    if some:
        yield encode(Changes(serial, some))


def decode_changes(message: Changes) -> Iterable[Change]:
    """Return the changes in a message."""
    for kind, key, data in message.items:
        yield Change(kind, key, None if data is None else _objects[kind].decode(data))


class FrameReader:
    """Takes octets in any pieces and gives the messages that are whole; `types` is the union of those expected."""

    def __init__(self, types: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(types)
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[object]:
        """Yield the messages that are whole now."""
        self._data += data
        while (body := self._body()) is not None:
            yield self._decoder.decode(body)

    def _body(self) -> bytes | None:
        if len(self._data) < 4:
            return None
        end = 4 + int.from_bytes(self._data[:4])
        if len(self._data) < end:
            return None
        body = bytes(self._data[4:end])
        del self._data[:end]
        return body
