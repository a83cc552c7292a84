"""Node ports on localhost in nftables mode, which kproxy relays where it is asked to."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from socket import AF_INET, SOCK_STREAM, socket
from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import OneNode, one_node, web
from tests.lab.agent import eventually
from tests.lab.manifests import Port, service

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

NODE_PORT = 30080
POD, OTHER_POD = "10.244.1.10", "10.244.1.11"
FLAGS = ("--proxy-mode", "nftables", "--nodeport-addresses", "primary,localhost")
GATE = "--feature-gates=KubeProxyNFTablesLocalhostNodePorts=true"
LISTENERS = "kubeproxy_nftables_localhost_nodeport_listeners"


@contextmanager
def pod(node: OneNode, ip: str) -> Iterator[None]:
    """The node itself answers for a Pod, with its address."""
    node.namespace.run("ip", "address", "add", f"{ip}/32", "dev", "lo")
    with node.namespace.socket(AF_INET, SOCK_STREAM) as server:
        server.bind((ip, 8080))
        server.listen()
        threading.Thread(target=_answer, args=(server, ip), daemon=True).start()
        yield


def _answer(server: socket, text: str) -> None:
    try:
        while True:
            with server.accept()[0] as connection:
                connection.sendall(text.encode())
    except OSError:
        return  # the test is over


def who(node: OneNode) -> str:
    with node.namespace.socket(AF_INET, SOCK_STREAM) as client:
        client.settimeout(10)
        try:
            client.connect(("127.0.0.1", NODE_PORT))
        except ConnectionRefusedError:
            return ""
        return client.recv(100).decode()


def write(node: OneNode, *endpoints: str) -> None:
    node_port = Port("http", "tcp", 80, 8080, node_port=NODE_PORT)
    node.manifests.write(
        "web", [service("web", [node_port], ["10.96.0.10"], kind="NodePort"), *web(endpoints=endpoints)[1:]]
    )


def test_they_follow_the_endpoints() -> None:
    with one_node() as node, pod(node, POD), pod(node, OTHER_POD):
        write(node, POD)
        with node.agent(*FLAGS, GATE) as agent:
            agent.wait_ready()
            eventually(lambda: who(node) == POD, "the endpoint answers")
            assert agent.metric(LISTENERS, ip_family="IPv4") == 1
            write(node, OTHER_POD)
            eventually(lambda: who(node) == OTHER_POD, "the new endpoint answers")
            write(node)
            eventually(lambda: who(node) == "", "nobody listens for a Service without endpoints")
            eventually(lambda: agent.metric(LISTENERS, ip_family="IPv4") == 0, "and the metric says so")


def test_a_port_that_somebody_else_has_is_counted_and_taken_later() -> None:
    failures = "kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total"
    with one_node() as node, pod(node, POD):
        write(node, POD)
        with node.namespace.socket(AF_INET, SOCK_STREAM) as other, node.agent(*FLAGS, GATE) as agent:
            other.bind(("127.0.0.1", NODE_PORT))
            other.listen()
            agent.wait_ready()
            eventually(lambda: (agent.metric(failures, ip_family="IPv4") or 0) >= 1, "it is counted")
            other.close()
            eventually(lambda: who(node) == POD, "the endpoint answers")


def test_without_the_gate_there_are_none_and_the_log_says_so() -> None:
    with one_node() as node, pod(node, POD):
        write(node, POD)
        with node.agent(*FLAGS) as agent:
            agent.wait_ready()
            eventually(lambda: "node ports are not served on localhost" in agent.log.read_text(), "it is said")
            assert who(node) == ""
