"""The health server: /healthz and /livez over HTTP (reference section 7.1; rows 90 and 91)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kproxy.errors import ConfigError, ServerError
from kproxy.health.server import start_healthz_server
from kproxy.health.shared import ProxierHealth
from kproxy.metrics.registry import Metrics
from tests.health.client import get, taken_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Node:
    """A served health record whose clock the test holds."""

    health: ProxierHealth
    metrics: Metrics
    now: float = 0.0
    port: int = 0

    def codes(self) -> tuple[int, int]:
        return get(self.port, "/healthz").status, get(self.port, "/livez").status


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(ProxierHealth(30), Metrics())
    node.health.expect({"IPv4"})
    server = start_healthz_server("127.0.0.1:0", node.health, node.metrics, clock=lambda: node.now)
    assert server is not None
    with contextlib.closing(server):
        assert server.port is not None
        node.port = server.port
        yield node


@pytest.fixture
def synced(node: Node) -> Node:
    node.health.synced("IPv4", node.now)
    return node


def test_first_sync(node: Node) -> None:
    assert node.codes() == (503, 200)
    node.health.synced("IPv4", node.now)
    assert node.codes() == (200, 200)


def test_row_90_tainted(synced: Node) -> None:
    synced.health.node_changed(deleting=False, tainted=True)
    assert synced.codes() == (503, 200)
    assert get(synced.port, "/healthz").json()["nodeEligible"] is False
    assert "nodeEligible" not in get(synced.port, "/livez").json()


def test_row_91_cordoned(synced: Node) -> None:
    """A cordoned Node changes, but neither is being deleted nor has the taint."""
    synced.health.node_changed(deleting=False, tainted=False)
    assert synced.codes() == (200, 200)


def test_a_sync_that_hangs_or_fails(synced: Node) -> None:
    synced.health.started("IPv4", 10)
    synced.now = 70
    assert synced.codes() == (503, 503)
    synced.health.failed("IPv4", 70)
    assert synced.codes() == (503, 503)
    synced.health.synced("IPv4", 71)
    assert synced.codes() == (200, 200)


def test_headers(synced: Node) -> None:
    reply = get(synced.port, "/healthz")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert set(reply.json()) == {"lastUpdated", "currentTime", "nodeEligible", "healthy", "status"}


def test_other_paths(synced: Node) -> None:
    assert [get(synced.port, path).status for path in ("/", "/metrics", "/readyz")] == [404, 404, 404]


def test_answers_are_counted_by_code(node: Node) -> None:
    def count(name: str, code: str) -> float | None:
        return node.metrics.registry.get_sample_value(f"kubeproxy_proxy_{name}_total", {"code": code})

    node.codes()
    node.health.synced("IPv4", node.now)
    node.codes()
    node.codes()
    assert (count("healthz", "200"), count("healthz", "503")) == (2, 1)
    assert (count("livez", "200"), count("livez", "503")) == (3, 0)


def test_answers_while_the_event_loop_is_stuck(synced: Node) -> None:
    async def stuck() -> tuple[int, int]:
        return synced.codes()  # blocks the loop until both answers are there

    assert asyncio.run(stuck()) == (200, 200)


def test_answers_while_planning_is_busy(synced: Node) -> None:
    done = threading.Event()

    def plan() -> None:
        while not done.is_set():
            sum(range(1000))

    planning = threading.Thread(target=plan)
    planning.start()
    try:
        assert synced.codes() == (200, 200)
    finally:
        done.set()
        planning.join()


def test_many_threads_report_at_once(synced: Node) -> None:
    """No report of one family is lost to one of another."""
    families = [f"family-{n}" for n in range(8)]
    synced.health.expect(families)

    def report(family: str) -> None:
        for now in range(500):
            synced.health.queued(family, now)
            synced.health.started(family, now)
            synced.health.synced(family, now)

    threads = [threading.Thread(target=report, args=(family,)) for family in families]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {state.synced_at for state in synced.health.state().families.values()} == {499}
    assert synced.codes() == (200, 200)


def test_disabled() -> None:
    assert start_healthz_server("", ProxierHealth(30), Metrics()) is None


def test_bad_address() -> None:
    with pytest.raises(ConfigError, match=r"^healthzBindAddress: 'localhost:1'"):
        start_healthz_server("localhost:1", ProxierHealth(30), Metrics())


def test_hard_fail() -> None:
    with taken_port() as port, pytest.raises(ServerError, match=r"^the health server can't listen on 127\.0\.0\.1"):
        start_healthz_server(f"127.0.0.1:{port}", ProxierHealth(30), Metrics(), hard_fail=True)
