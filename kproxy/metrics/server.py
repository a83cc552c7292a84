"""The metrics server, port 10249 by default: /metrics, /configz, /proxyMode; its /healthz says the process runs."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from kproxy.health.answer import JSON, NOSNIFF, TEXT, Answer
from kproxy.health.bind import parse_bind
from kproxy.health.http import RETRY_S, HttpServer
from kproxy.health.request import Site
from kproxy.metrics.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from kproxy.metrics.registry import Metrics

METRICS_PORT = 10249


def start_metrics_server(
    bind: str,
    metrics: Metrics,
    proxy_mode: str,
    *,
    configz: bytes = b"{}",
    hard_fail: bool = False,
    retry_s: float = RETRY_S,
) -> HttpServer | None:
    """Start the metrics server; None when `bind` is "", which disables it. Plain HTTP, without authentication.

    `configz` is the configuration in JSON, which /configz shows.

    Raises ConfigError for an address that is none, and with `hard_fail` ServerError when it can't be bound.
    """
    if not bind:
        return None

    def show_slis() -> Answer:
        return Answer(HTTPStatus.OK, metrics.slis(), (("Content-Type", CONTENT_TYPE),))

    def show() -> Answer:
        return Answer(HTTPStatus.OK, metrics.exposition(), (("Content-Type", CONTENT_TYPE),))

    site = Site(
        {
            "/healthz": lambda: Answer(HTTPStatus.OK, b"ok"),
            "/configz": lambda: Answer(HTTPStatus.OK, configz, (JSON,)),
            "/metrics": show,
            "/metrics/slis": show_slis,
            "/proxyMode": lambda: Answer(HTTPStatus.OK, proxy_mode.encode(), (TEXT, NOSNIFF)),
        }
    )
    address = parse_bind(bind, field="metricsBindAddress", default_port=METRICS_PORT)
    return HttpServer("the metrics server", address, site, hard_fail=hard_fail, retry_s=retry_s)
