"""What the DNS service answers by HTTP: /ready and /health for probes, /metrics for a scraper."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from kproxy.health.answer import NOSNIFF, TEXT, Answer
from kproxy.health.bind import parse_bind
from kproxy.health.http import HttpServer
from kproxy.health.request import Site
from kproxy.metrics.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.dns.server.metrics import DnsMetrics


TAKE_OVER_S: Final = 0.5
"""How often it is tried to bind: as long as the process that is taken over from has the address."""


def start_site(
    bind: str, metrics: DnsMetrics, not_ready: Callable[[], str], unhealthy: Callable[[], str]
) -> HttpServer | None:
    """Start the HTTP server; None when `bind` is "", which disables it. While the address is taken it goes on trying.

    `not_ready` and `unhealthy` return why, or "" when all is well; they are called in other threads. Ready means that
    every name is answered for; healthy, that the workers live.
    """
    if not bind:
        return None
    site = Site(
        {
            "/ready": lambda: _said(not_ready()),
            "/health": lambda: _said(unhealthy()),
            "/metrics": lambda: Answer(HTTPStatus.OK, metrics.exposition(), (("Content-Type", CONTENT_TYPE),)),
        }
    )
    address = parse_bind(bind, field="--dns-metrics-bind-address", default_port=9153)
    return HttpServer("the DNS metrics server", address, site, retry_s=TAKE_OVER_S)


def _said(why: str) -> Answer:
    status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
    return Answer(status, (why or "OK").encode() + b"\n", (TEXT, NOSNIFF))
