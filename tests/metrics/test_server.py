"""The metrics server over HTTP (reference section 7.2)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kproxy.errors import ConfigError, ServerError
from kproxy.metrics.registry import Metrics
from kproxy.metrics.server import start_metrics_server
from tests.health.client import get, taken_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def port() -> Iterator[int]:
    server = start_metrics_server("127.0.0.1:0", Metrics(), "iptables", configz=b'{"a":1}')
    assert server is not None
    with contextlib.closing(server):
        assert server.port is not None
        yield server.port


@pytest.mark.parametrize(("path", "body"), [("/healthz", b"ok"), ("/proxyMode", b"iptables")])
def test_text(port: int, path: str, body: bytes) -> None:
    reply = get(port, path)
    assert (reply.status, reply.body) == (200, body)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_metrics(port: int) -> None:
    reply = get(port, "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in text_string_to_metric_families(reply.body.decode())}
    assert {"kubeproxy_sync_proxy_rules_duration_seconds", "kproxy_build_info"} <= names


def test_slis(port: int) -> None:
    """What kube-proxy 1.36 has there."""
    text = get(port, "/metrics/slis").body.decode()
    assert [family.name for family in text_string_to_metric_families(text)] == ["process_start_time_seconds"]


def test_configz(port: int) -> None:
    reply = get(port, "/configz")
    assert (reply.status, reply.body) == (200, b'{"a":1}')
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/", "/livez", "/metrics/", "/proxymode", "/debug/pprof/"])
def test_other_paths(port: int, path: str) -> None:
    assert get(port, path).status == 404


def test_disabled() -> None:
    assert start_metrics_server("", Metrics(), "iptables") is None


def test_bad_address() -> None:
    with pytest.raises(ConfigError, match=r"^metricsBindAddress: 'x'"):
        start_metrics_server("x", Metrics(), "iptables")


def test_taken_address_is_tried_again_and_hard_fail_is_not() -> None:
    with taken_port() as port:
        with pytest.raises(ServerError, match=r"^the metrics server can't listen on 127\.0\.0\.1"):
            start_metrics_server(f"127.0.0.1:{port}", Metrics(), "iptables", hard_fail=True)
        server = start_metrics_server(f"127.0.0.1:{port}", Metrics(), "iptables", retry_s=0.01)
        assert server is not None
    with contextlib.closing(server):
        assert server.wait_bound(30)
        assert get(port, "/healthz").body == b"ok"
