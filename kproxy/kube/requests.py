"""A request of the reflector's: what it is for, where it stands, and how long each of its phases may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from kproxy.kube.backoff import BackOffPolicy

if TYPE_CHECKING:
    from kproxy.kube.resources import Query


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines and delays in seconds.

    The server sends a bookmark about once a minute, so `watch_silence_s` lets one get lost. A watch is asked to end
    after `watch_s` to twice that, so that a server which was away does not keep all its clients for good.

    A watch that was answered and then cut goes on within `resume_s`, which costs the server little. A server that has
    just started may refuse those whom it knows a moment later, for up to `start_up_s`.

    With a factor of 1.3 a delay is about a quarter of the time since the first failure: a second after 4 s of outage.
    """

    connect_s: float = 10.0
    answer_s: float = 30.0
    list_silence_s: float = 30.0
    watch_silence_s: float = 150.0
    watch_s: float = 300.0
    short_watch_s: float = 1.0
    resume_s: float = 0.7
    start_up_s: float = 30.0
    settled_s: float = 1.0
    lists_settled_s: float = 60.0
    streamed_list_again_s: float = 600.0
    absent_again_s: float = 600.0
    page_limit: int = 500
    failures: BackOffPolicy = field(default=BackOffPolicy(0.25, 30.0, 1.3))
    lists: BackOffPolicy = field(default=BackOffPolicy(0.5, 60.0))
    unreachable: BackOffPolicy = field(default=BackOffPolicy(0.1, 1.0))


class Purpose(Enum):
    """What a request is for."""

    STREAMED_LIST = "streamed list"
    LIST = "list"
    WATCH = "watch"


class Phase(Enum):
    """Where the request stands; the values are what the user reads when a phase takes too long."""

    IDLE = "idle"
    CONNECTING = "no connection"
    ASKED = "no answer"
    INITIAL = "silence in a streamed list"
    PAGE = "silence in a list"
    WATCHING = "silence in a watch: not even a bookmark"
    REFUSED = "silence in an error"


@dataclass(frozen=True, slots=True)
class Request:
    """One GET."""

    purpose: Purpose
    path: str
    query: Query
