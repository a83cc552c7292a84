"""Health check node ports on real sockets (reference section 7.3, rows 86 to 89)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from kproxy.health.service_listeners import ServiceHealthListeners
from kproxy.health.shared import ProxierHealth
from tests.health.client import Reply, free_ports, get, needs_ipv6, refused, taken_port

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB, API = ("default", "web"), ("default", "api")
LOOPBACK = (ip_address("127.0.0.1"),)


@dataclass(slots=True)
class Node:
    """Listeners on 127.0.0.1 of a node that was synced at 0; the test holds the clock."""

    health: ProxierHealth
    now: float = 0.0


@pytest.fixture
def node() -> Node:
    node = Node(ProxierHealth(30))
    node.health.expect({"IPv4"})
    node.health.synced("IPv4", 0)
    return node


@pytest.fixture
def listeners(node: Node) -> Iterator[ServiceHealthListeners]:
    listeners = ServiceHealthListeners(node.health, addresses=LOOPBACK, clock=lambda: node.now)
    with contextlib.closing(listeners):
        yield listeners


def seen(reply: Reply) -> tuple[int, str, object, object]:
    body = reply.json()
    weight = reply.headers["X-Load-Balancing-Endpoint-Weight"]
    return reply.status, weight, body["localEndpoints"], body["serviceProxyHealthy"]


def test_row_86_two_ready_local_pods(listeners: ServiceHealthListeners) -> None:
    (port,) = free_ports(1)
    assert listeners.sync({WEB: (port, 2)}) == ()
    reply = get(port)
    assert seen(reply) == (200, "2", 2, True)
    assert reply.json()["service"] == {"namespace": "default", "name": "web"}


def test_row_87_only_terminating_local_pods(listeners: ServiceHealthListeners) -> None:
    (port,) = free_ports(1)
    listeners.sync({WEB: (port, 0)})
    assert seen(get(port)) == (503, "0", 0, True)


def test_row_88_a_sync_pending_too_long(node: Node, listeners: ServiceHealthListeners) -> None:
    (port,) = free_ports(1)
    listeners.sync({WEB: (port, 2)})
    node.health.queued("IPv4", 100)
    node.now = 159
    assert seen(get(port)) == (200, "2", 2, True)
    node.now = 160
    assert seen(get(port)) == (503, "2", 2, False)


def test_row_89_node_being_deleted(node: Node, listeners: ServiceHealthListeners) -> None:
    (port,) = free_ports(1)
    listeners.sync({WEB: (port, 2)})
    node.health.node_changed(deleting=True, tainted=False)
    assert seen(get(port)) == (200, "2", 2, True)


@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/healthz?x", "GET"), ("/any/thing", "POST")])
def test_any_path_and_method(listeners: ServiceHealthListeners, path: str, method: str) -> None:
    (port,) = free_ports(1)
    listeners.sync({WEB: (port, 2)})
    assert get(port, path, method=method).status == 200


def test_counts_follow(listeners: ServiceHealthListeners) -> None:
    web, api = free_ports(2)
    codes = []
    for counts in ((2, 1), (0, 1), (1, 0)):
        listeners.sync({WEB: (web, counts[0]), API: (api, counts[1])})
        codes.append((get(web).status, get(api).status))
    assert codes == [(200, 200), (503, 200), (200, 503)]


def test_gone_and_reported(listeners: ServiceHealthListeners) -> None:
    old, new, other = free_ports(3)
    listeners.sync({WEB: (old, 1), API: (other, 1)})
    listeners.sync({WEB: (new, 1)})
    assert refused(old)
    assert refused(other)
    assert get(new).status == 200
    assert listeners.ports() == {WEB: new}
    listeners.sync({})
    assert refused(new)


def test_ports_swapped(listeners: ServiceHealthListeners) -> None:
    one, two = free_ports(2)
    listeners.sync({WEB: (one, 1), API: (two, 1)})
    assert listeners.sync({WEB: (two, 1), API: (one, 1)}) == ()
    assert [get(port).json()["service"]["name"] for port in (one, two)] == ["api", "web"]


def test_a_port_that_is_taken_is_tried_again(listeners: ServiceHealthListeners) -> None:
    (free,) = free_ports(1)
    with taken_port() as taken:
        desired = {WEB: (taken, 1), API: (free, 1)}
        for _ in range(2):
            (failure,) = listeners.sync(desired)
            assert (failure.service, failure.port) == (WEB, taken)
            assert str(failure.error).startswith(
                f"the health check of Service default/web can't listen on 127.0.0.1:{taken}: Address already in use"
            )
            assert get(free).status == 200
    assert listeners.sync(desired) == ()
    assert get(taken).status == 200


def test_two_services_on_one_port(listeners: ServiceHealthListeners) -> None:
    (port,) = free_ports(1)
    (failure,) = listeners.sync({WEB: (port, 1), API: (port, 1)})
    assert failure.service == WEB
    assert str(failure.error) == (
        f"the health check of Service default/web can't listen on :{port}: the health check of Service default/api does"
    )
    assert get(port).json()["service"]["name"] == "api"
    assert listeners.sync({WEB: (port, 1)}) == ()
    assert get(port).json()["service"]["name"] == "web"


@needs_ipv6
def test_all_addresses_of_both_families_unless_told_otherwise(node: Node) -> None:
    (port,) = free_ports(1)
    with contextlib.closing(ServiceHealthListeners(node.health, clock=lambda: node.now)) as listeners:
        listeners.sync({WEB: (port, 1)})
        assert [get(port, host=host).status for host in ("127.0.0.1", "127.0.0.2", "::1")] == [200, 200, 200]
    assert refused(port)


@needs_ipv6
def test_restricted_to_addresses(node: Node) -> None:
    (port,) = free_ports(1)
    addresses = [ip_address(text) for text in ("127.0.0.2", "127.0.0.3", "::1")]
    with contextlib.closing(
        ServiceHealthListeners(node.health, addresses=addresses, clock=lambda: node.now)
    ) as listeners:
        listeners.sync({WEB: (port, 1)})
        assert [get(port, host=str(address)).status for address in addresses] == [200, 200, 200]
        assert refused(port, "127.0.0.1")
        listeners.sync({})
        assert all(refused(port, str(address)) for address in addresses)


def test_one_address_that_fails_opens_none(node: Node) -> None:
    addresses = [ip_address(text) for text in ("127.0.0.2", "127.0.0.3")]
    with (
        taken_port("127.0.0.3") as port,
        contextlib.closing(
            ServiceHealthListeners(node.health, addresses=addresses, clock=lambda: node.now)
        ) as listeners,
    ):
        assert len(listeners.sync({WEB: (port, 1)})) == 1
        assert refused(port, "127.0.0.2")
        assert listeners.ports() == {}
