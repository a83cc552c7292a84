"""A node without a cluster around it: one namespace, the agent, its manifests. Enough where no packet has to travel."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.lab import Agent, Namespace, Run
from tests.lab.manifests import Endpoint as LabEndpoint
from tests.lab.manifests import ManifestDirectory, Object, Port, endpoint_slice, service

if TYPE_CHECKING:
    from collections.abc import Iterator

#: These sysctls can't be set in a network namespace of one's own.
LEAVE_CONNTRACK = (
    *("--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0"),
    *("--conntrack-tcp-timeout-close-wait", "0"),
)
FLAGS = (
    *("--hostname-override", "node-a", "--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48"),
    *(*LEAVE_CONNTRACK, "--iptables-sync-period", "1s"),
)
WEB = Port("http", "tcp", 80, 8080)


class OneNode:
    """A namespace with loopback, and a directory of manifests."""

    def __init__(self, run: Run) -> None:
        self.namespace = Namespace(run, "node")
        self.namespace.run("ip", "link", "set", "lo", "up")
        directory = run.directory / "manifests"
        directory.mkdir()
        self.manifests = ManifestDirectory(directory)
        self.env = run.env

    def agent(self, *arguments: str, program: tuple[str, ...] = (sys.executable, "-m", "kproxy", "run")) -> Agent:
        argv = [*program, "--manifests", str(self.manifests.path), *FLAGS, *arguments]
        return Agent(self.namespace, argv, ("ipv4", "ipv6"))

    def saved(self, variant: str, table: str) -> str:
        return self.namespace.run(f"iptables-{variant}-save", "-t", table)


@contextmanager
def one_node() -> Iterator[OneNode]:
    with Run() as run:
        yield OneNode(run)


def web(
    name: str = "web", cluster_ip: str = "10.96.0.10", endpoints: tuple[str, ...] = ("10.244.1.10",)
) -> list[Object]:
    """A Service with a clusterIP and ready endpoints."""
    ready = [LabEndpoint(ip, node="node-b") for ip in endpoints]
    return [service(name, [WEB], [cluster_ip]), endpoint_slice(name, "ipv4", [WEB], ready)]
