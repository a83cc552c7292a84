from __future__ import annotations

import ipaddress

import pytest

from kproxy.plan.stale_flows import Flow, StaleFlowFilter, UdpFrontend

CLUSTER_IP = UdpFrontend("10.96.0.10", 53)
EXTERNAL_IP = UdpFrontend("192.0.2.1", 53)
NODE_PORT = UdpFrontend(None, 30053)
SIX = UdpFrontend("fd00::a", 53)

NODE = ("192.168.0.1", "172.16.0.1")
A, B = "10.1.0.5:5353", "10.1.0.6:5353"
NOTHING: frozenset[str] = frozenset()


def flow(destination: str, port: int, reply_source: str, reply_port: int) -> Flow:
    packed = [ipaddress.ip_address(text).packed for text in (destination, reply_source)]
    return Flow(packed[0], port, packed[1], reply_port, b"")


@pytest.mark.parametrize(
    ("frontend", "allowed", "sent_to", "answered_by", "stale"),
    [
        # Row 94: the endpoint is gone, others serve.
        (CLUSTER_IP, {B}, ("10.96.0.10", 53), ("10.1.0.5", 5353), True),
        # Row 97: the endpoint still serves (it may be terminating).
        (CLUSTER_IP, {A, B}, ("10.96.0.10", 53), ("10.1.0.5", 5353), False),
        # Row 95: a black hole, nothing was translated.
        (CLUSTER_IP, {A}, ("10.96.0.10", 53), ("10.96.0.10", 53), True),
        # Row 96 with delta 7: no serving endpoint is left, or the Service is gone.
        (CLUSTER_IP, set(), ("10.96.0.10", 53), ("10.1.0.5", 5353), True),
        (CLUSTER_IP, set(), ("10.96.0.10", 53), ("10.96.0.10", 53), True),
        # The endpoint's address at another port is another endpoint.
        (CLUSTER_IP, {A}, ("10.96.0.10", 53), ("10.1.0.5", 53), True),
        # Other ports and addresses are others' business, whoever answers.
        (CLUSTER_IP, set(), ("10.96.0.10", 54), ("10.1.0.5", 5353), False),
        (CLUSTER_IP, set(), ("10.96.0.11", 53), ("10.1.0.5", 5353), False),
        (CLUSTER_IP, set(), ("10.1.0.5", 5353), ("10.1.0.5", 5353), False),
        (EXTERNAL_IP, {B}, ("192.0.2.1", 53), ("10.1.0.5", 5353), True),
        (SIX, {"[fd01::6]:5353"}, ("fd00::a", 53), ("fd01::5", 5353), True),
        (SIX, {"[fd01::5]:5353"}, ("fd00::a", 53), ("fd01::5", 5353), False),
        (SIX, {"[fd01::5]:5353"}, ("fd00::a", 53), ("fd00::a", 53), True),
        # Node ports: on any address of the node, and on no other.
        (NODE_PORT, {B}, ("192.168.0.1", 30053), ("10.1.0.5", 5353), True),
        (NODE_PORT, {B}, ("172.16.0.1", 30053), ("10.1.0.5", 5353), True),
        (NODE_PORT, {A}, ("192.168.0.1", 30053), ("10.1.0.5", 5353), False),
        (NODE_PORT, set(), ("192.168.0.1", 30053), ("192.168.0.1", 30053), True),
        (NODE_PORT, set(), ("192.168.0.1", 53), ("192.168.0.1", 53), False),
        (NODE_PORT, set(), ("198.51.100.7", 30053), ("198.51.100.7", 30053), False),
        (NODE_PORT, set(), ("192.168.0.2", 30053), ("10.1.0.5", 5353), False),
    ],
)
def test_stale(
    frontend: UdpFrontend, allowed: set[str], sent_to: tuple[str, int], answered_by: tuple[str, int], stale: bool
) -> None:
    stale_filter = StaleFlowFilter({frontend: frozenset(allowed)}, NODE)
    assert stale_filter.is_stale(flow(*sent_to, *answered_by)) is stale


def test_a_node_port_without_addresses_hits_nothing() -> None:
    stale_filter = StaleFlowFilter({NODE_PORT: NOTHING})
    assert not stale_filter
    assert not stale_filter.is_stale(flow("192.168.0.1", 30053, "192.168.0.1", 30053))


@pytest.mark.parametrize("order", [False, True])
def test_a_vip_on_an_address_of_the_node_goes_before_a_node_port(order: bool) -> None:
    vip = UdpFrontend("192.168.0.1", 30053)
    pairs = [(NODE_PORT, frozenset({A})), (vip, frozenset({B}))]
    stale_filter = StaleFlowFilter(dict(reversed(pairs) if order else pairs), NODE)
    assert not stale_filter.is_stale(flow("192.168.0.1", 30053, "10.1.0.6", 5353))
    assert stale_filter.is_stale(flow("192.168.0.1", 30053, "10.1.0.5", 5353))
    assert not stale_filter.is_stale(flow("172.16.0.1", 30053, "10.1.0.5", 5353))


def test_any_spelling_of_an_address_is_the_same_address() -> None:
    stale_filter = StaleFlowFilter({UdpFrontend("FD00:0::000a", 53): frozenset({"[fd01:0::5]:5353"})})
    assert not stale_filter.is_stale(flow("fd00::a", 53, "fd01::5", 5353))
    assert stale_filter.is_stale(flow("fd00::a", 53, "fd01::6", 5353))


def test_stale_keeps_the_order() -> None:
    flows = [flow("10.96.0.10", 53, "10.1.0.5", port) for port in (1, 5353, 2)]
    assert list(StaleFlowFilter({CLUSTER_IP: frozenset({A})}).stale(flows)) == [flows[0], flows[2]]


@pytest.mark.parametrize(
    ("frontends", "port"),
    [
        ([], None),
        ([CLUSTER_IP], 53),
        ([CLUSTER_IP, EXTERNAL_IP], 53),
        ([NODE_PORT], 30053),
        ([CLUSTER_IP, NODE_PORT], None),
    ],
)
def test_common_port(frontends: list[UdpFrontend], port: int | None) -> None:
    assert StaleFlowFilter(dict.fromkeys(frontends, NOTHING), NODE).common_port == port


@pytest.mark.parametrize("frontends", [{UdpFrontend("x", 1): NOTHING}, {CLUSTER_IP: frozenset({"10.0.0.1"})}])
def test_wrong_addresses(frontends: dict[UdpFrontend, frozenset[str]]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        StaleFlowFilter(frontends)
