"""The health server: /healthz and /livez, on port 10256 unless told otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kproxy.health.bind import parse_bind
from kproxy.health.http import RETRY_S, HttpServer
from kproxy.health.request import Site

if TYPE_CHECKING:
    from kproxy.health.answer import Answer
    from kproxy.health.shared import ProxierHealth
    from kproxy.metrics.registry import Metrics

HEALTHZ_PORT = 10256

Clock = Callable[[], float]


def start_healthz_server(
    bind: str,
    health: ProxierHealth,
    metrics: Metrics,
    *,
    hard_fail: bool = False,
    retry_s: float = RETRY_S,
    clock: Clock = time.monotonic,
    wall: Clock = time.time,
) -> HttpServer | None:
    """Start the health server; None when `bind` is "", which disables it.

    `clock` must be the one whose instants `health` is given. Every answer is counted by its code in
    kubeproxy_proxy_healthz_total or kubeproxy_proxy_livez_total. Raises ConfigError for an address that is none, and
    with `hard_fail` ServerError when it can't be bound.
    """
    if not bind:
        return None

    def healthz() -> Answer:
        answer = health.healthz(clock(), wall())
        metrics.healthz_responses[answer.status].inc()
        return answer

    def livez() -> Answer:
        answer = health.livez(clock(), wall())
        metrics.livez_responses[answer.status].inc()
        return answer

    address = parse_bind(bind, field="healthzBindAddress", default_port=HEALTHZ_PORT)
    site = Site({"/healthz": healthz, "/livez": livez})
    return HttpServer("the health server", address, site, hard_fail=hard_fail, retry_s=retry_s)
