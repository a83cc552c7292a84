"""Starts the agent: what must be there before its loop runs, and what ends with it."""

from __future__ import annotations

import contextlib
import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.agent import Agent
from kproxy.errors import ServerError
from kproxy.events import event
from kproxy.events.log import EventLog
from kproxy.health.server import start_healthz_server
from kproxy.health.shared import ProxierHealth
from kproxy.metrics.registry import Metrics
from kproxy.metrics.server import start_metrics_server
from kproxy.modes import mode
from kproxy.plan.local_traffic import DetectLocalMode
from kproxy.threads import run_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kproxy.config import Config
    from kproxy.health.http import HttpServer
    from kproxy.sources.base import Source

log = logging.getLogger(__name__)

LAST_WORD_S = 2.0
"""For how long the end of the process waits for the Event that says why."""


def run_agent(config: Config) -> None:
    """Run until SIGTERM or SIGINT; the rules stay. Raises `KproxyError` when it can't start."""
    metrics = Metrics(mode=config.proxy_mode)
    source, events = _source(config, metrics)
    if config.dns is not None:
        from kproxy.dns.server.sockets import check

        check(config.dns.given)
    _set_oom_score(config.oom_score_adj)
    proxy_mode = mode(config.proxy_mode)
    proxiers = proxy_mode.start(config)
    proxy_mode.connect(proxiers, metrics)
    health = ProxierHealth(config.sync_period_s)
    health.expect(proxier.family for proxier in proxiers)
    servers = _start_servers(config, health, metrics, events)
    # Until the first sync is done nearly every new object lives on, and looking for garbage would double the time.
    gc.disable()
    try:
        drift = proxy_mode.drift(proxiers)
        take_over = proxy_mode.take_over(config)
        run_loop(Agent(config, source, proxiers, health, metrics, events, drift=drift, take_over=take_over).run())
    finally:
        for server in servers:
            if server is not None:
                server.close()


def _start_servers(
    config: Config, health: ProxierHealth, metrics: Metrics, events: EventLog
) -> list[HttpServer | None]:
    """Start the metrics server and the health server; what ends the process is told as an event before that."""
    bind, mode, hard_fail = config.metrics_bind_address, config.proxy_mode, config.bind_address_hard_fail
    with _last_word(events, lambda why: event.metrics_server_failed(config.node_name, why)):
        for_metrics = start_metrics_server(bind, metrics, mode, configz=config.configz, hard_fail=hard_fail)
    with _last_word(events, lambda why: event.health_server_failed(config.node_name, why)):
        for_health = start_healthz_server(config.healthz_bind_address, health, metrics, hard_fail=hard_fail)
    return [for_metrics, for_health]


@contextlib.contextmanager
def _last_word(events: EventLog, made_of: Callable[[str], event.Event]) -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        events.record(made_of(str(error)))
        run_loop(events.flush(LAST_WORD_S))
        raise


def _source(config: Config, metrics: Metrics) -> tuple[Source, EventLog]:
    """Return the source and where events go, after a look at it: a mistyped path must not change the node first."""
    # Each source is imported where it is used: imports are most of what a restart takes.
    if config.manifests is None:
        from kproxy.events.sender import EventSender
        from kproxy.kube.credentials import find_credentials
        from kproxy.sources.kubernetes import KubernetesSource

        credentials = find_credentials(config.kubeconfig, config.master)
        pod_cidrs = config.local.mode is DetectLocalMode.NODE_CIDR
        observe = metrics.observe_api_request
        source = KubernetesSource(credentials, config.node_name, pod_cidrs=pod_cidrs, observe=observe)
        return source, EventSender(credentials, config.node_name, observe)
    from kproxy.sources.directory import ManifestDirectory

    return ManifestDirectory.given(config.manifests), EventLog()


def _set_oom_score(score: int) -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")
    except OSError as error:
        log.debug("oom_score_adj can't be set to %d: %s", score, error.strerror)
