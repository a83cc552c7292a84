"""DNS beside the proxy: `kproxy run --dns-bind-address` starts it, keeps it, and ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dns.exception
import pytest

from tests.agent.one_node import FLAGS
from tests.dns.server.running import ADDRESS, Node, children, dns_node, headless
from tests.lab import Agent
from tests.lab.agent import eventually

pytestmark = pytest.mark.root

DB = "db.shop.svc.cluster.local"


def agent(node: Node, *arguments: str) -> Agent:
    node.manifests.write("db", headless("db", "10.244.1.1"))
    argv = [sys.executable, "-m", "kproxy", "run", "--manifests", str(node.manifests.path), *FLAGS]
    return Agent(node.namespace, [*argv, "--dns-upstream", "192.0.2.99", *arguments], ("ipv4", "ipv6"))


def child(agent: Agent) -> int | None:
    """The process id of `kproxy dns`, None if there is none at present."""
    dns = [pid for pid in children(agent.pid) if b"dns-bind" in command_line(pid)]
    return dns[0] if dns else None


def command_line(pid: int) -> bytes:
    """b"" when it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def answers(node: Node, name: str = DB) -> bool:
    try:
        return node.ips(name, timeout_s=0.3) == ["10.244.1.1"]
    except (OSError, dns.exception.DNSException):
        return False


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_the_agent_starts_it_and_starts_it_again_and_ends_it() -> None:
    with dns_node() as node, agent(node, "--dns-bind-address", f"{ADDRESS}:53") as running:
        running.wait_ready()
        eventually(lambda: answers(node), "DNS answers", 30)
        first = child(running)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        eventually(lambda: child(running) not in (None, first), "DNS is started again", 30)
        eventually(lambda: answers(node), "DNS answers again", 30)
        assert "DNS ended with code -9: starting it again" in running.log.read_text()
        second = child(running)
        assert second is not None
        assert running.stop() == 0
        eventually(lambda: gone(second), "DNS ends with the agent")


def test_it_does_not_outlive_an_agent_that_was_killed() -> None:
    with dns_node() as node, agent(node, "--dns-bind-address", f"{ADDRESS}:53") as running:
        eventually(lambda: answers(node), "DNS answers", 30)
        pid = child(running)
        assert pid is not None
        running.kill()
        eventually(lambda: gone(pid), "DNS ends when the agent was killed")


def test_an_address_that_is_not_there_is_an_error_of_the_agent() -> None:
    with dns_node() as node:
        argv = agent(node, "--dns-bind-address", "198.51.100.1:53").argv
        done = subprocess.run(node.namespace.command(argv), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "can't listen on 198.51.100.1:53 (TCP): no interface of this node has the address" in done.stderr


def test_the_configuration_file_says_it_too() -> None:
    with dns_node() as node:
        file = node.run.directory / "config.yaml"
        file.write_text(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"
            "kind: KubeProxyConfiguration\n"
            "clusterCIDR: 10.244.0.0/16\n"
            "conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}\n"
            "---\n"
            "apiVersion: kproxy.dev/v1alpha1\n"
            "kind: KproxyConfiguration\n"
            f"dns: {{bindAddresses: ['{ADDRESS}:53'], clusterDomain: example.cluster}}\n"
        )
        running = agent(node, "--config", str(file))
        with running:
            eventually(lambda: answers(node, "db.shop.svc.example.cluster"), "DNS answers")
