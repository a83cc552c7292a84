"""Rows 82 and 98: packets that no honest socket sends."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.lab.cluster import POD_PORT
from tests.lab.rawpacket import RST, SYN, TCP, UDP, Segment, Sniffer, hardware_address, send

if TYPE_CHECKING:
    from tests.flows.scene import Scene

SOME_PORT = 4242
ARRIVES_WITHIN_S = 5.0


def loopback_destination(scene: Scene) -> None:
    """A neighbour sends to 127.0.0.1 on the node: first to a host port, then to a node port.

    The second arrives at the endpoint, which shows that such packets get as far as the rules; the first was sent
    before it, so by then it would be in the socket.
    """
    client, node = scene.cluster.namespaces["client"], scene.cluster.node
    source = scene.cluster.address("client", "ipv4")
    to_node_port = Segment(source, "127.0.0.1", SOME_PORT, scene.deployed[0].place.node_port, UDP, payload=b"node port")
    at_endpoint = Segment("", scene.cluster.address("a1", "ipv4"), 0, POD_PORT, UDP, payload=b"node port")
    with (
        node.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
        Sniffer(scene.cluster.namespaces["a1"]) as endpoint,
    ):
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        to_host_port = Segment(source, "127.0.0.1", SOME_PORT, victim.getsockname()[1], UDP, payload=b"host port")
        for segment in (to_host_port, to_node_port):
            send(client, segment, hardware_address(node))
        assert endpoint.until(at_endpoint, ARRIVES_WITHIN_S), "the packet to the node port did not reach the endpoint"
        try:
            received = victim.recv(100)
        except BlockingIOError:
            received = b""
    assert not received, "a host port on 127.0.0.1 got a packet from a neighbour"


def invalid_is_dropped(scene: Scene) -> None:
    assert not _invalid_arrives(scene), "a segment in state INVALID was forwarded"


def invalid_is_forwarded(scene: Scene) -> None:
    assert _invalid_arrives(scene), "a segment in state INVALID was dropped"


def _invalid_arrives(scene: Scene) -> bool:
    """Send a reset of a connection that never was, then an honest SYN; does the first arrive before the second?"""
    source, pod = scene.cluster.address("client", scene.family), scene.cluster.address("a2", scene.family)
    reset, syn = (Segment(source, pod, SOME_PORT, 9, TCP, flags) for flags in (RST, SYN))
    with Sniffer(scene.cluster.namespaces["a2"]) as pod_side:
        for segment in (reset, syn):
            send(scene.cluster.namespaces["client"], segment, hardware_address(scene.cluster.node))
        arrived = pod_side.until(syn, ARRIVES_WITHIN_S)
    assert arrived, "not even the SYN arrived"
    return any(segment.flags == RST for segment in arrived)
