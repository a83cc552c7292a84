"""What a small HTTP server answers, as a value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

NOSNIFF = ("X-Content-Type-Options", "nosniff")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
JSON = ("Content-Type", "application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status code, body, and the headers that are not about the connection or the length."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (TEXT, NOSNIFF)


NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, b"404 page not found\n")


def health_answer(
    healthy: bool, body: object, *, extra: tuple[tuple[str, str], ...] = (), indent: str | None = None
) -> Answer:
    """Return 200 when `healthy`, else 503, with `body` as JSON and kube-proxy's headers; `extra` are added to them."""
    separators = (",", ":") if indent is None else (",", ": ")
    return Answer(
        HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE,
        json.dumps(body, indent=indent, separators=separators).encode(),
        (JSON, NOSNIFF, *extra),
    )
