"""What goes wrong is one line that names the cause and the remedy, an exit code, and a kernel that was not touched."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.one_node import FLAGS, OneNode, one_node, web
from tests.lab.agent import eventually

pytestmark = pytest.mark.root

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set", "-net_admin,-sys_admin", "--inh-caps", "-net_admin,-sys_admin")


def run(node: OneNode, *arguments: str, prefix: tuple[str, ...] = (), path: str | None = None) -> tuple[int, list[str]]:
    """Run `kproxy ARGUMENTS` to its end: exit code, and the lines on standard error that are no log lines."""
    env = {**node.env, **({"PATH": path} if path is not None else {})}
    argv = node.namespace.command([*prefix, sys.executable, "-m", "kproxy", *arguments])
    argv[0] = "/usr/bin/nsenter"
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60)
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith(("kproxy:", "Traceback"))]


def untouched(node: OneNode) -> bool:
    return not node.namespace.run("nft", "list", "ruleset") and not node.namespace.run("iptables-nft-save")


def agent_arguments(node: OneNode) -> tuple[str, ...]:
    return ("run", "--manifests", str(node.manifests.path), *FLAGS)


def test_without_permission() -> None:
    with one_node() as node:
        code, lines = run(node, *agent_arguments(node), prefix=WITHOUT_NET_ADMIN)
        assert code == 1
        assert len(lines) == 1
        assert "permission denied" in lines[0]
        assert "CAP_NET_ADMIN" in lines[0]
        assert untouched(node)


def test_without_iptables() -> None:
    """A mount over /usr/sbin, in a mount namespace of its own, is a machine without the package."""
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /usr/sbin && exec "$@"', "sh")
    with one_node() as node:
        code, lines = run(node, *agent_arguments(node), prefix=hidden)
        assert code == 1
        assert lines == ["kproxy: iptables-restore is not installed - install the package iptables"]
        code, lines = run(node, "cleanup", prefix=hidden)
        assert code == 1
        assert lines == ["kproxy: iptables-restore is not installed - install the package iptables"]


def test_a_missing_directory_is_found_before_anything_is_touched() -> None:
    with one_node() as node:
        code, lines = run(node, "run", "--manifests", "/does/not/exist", *FLAGS)
        assert code == 1
        assert lines == ["kproxy: --manifests /does/not/exist: no such directory - create it, or name another"]
        assert untouched(node)
        assert node.namespace.run("sysctl", "-n", "net.ipv4.conf.all.route_localnet").strip() == "0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--proxy-mode", "magic"), ("--proxy-mode", "'magic'", "iptables")),
        (("--no-such-flag",), ("--no-such-flag", "--help")),
        (("--cluster-cidr", "10.244.0.0"), ("--cluster-cidr", "10.244.0.0/16")),
        (("--iptables-sync-period", "soon"), ("--iptables-sync-period", "30s")),
        (("--nodeport-addresses", "eth0"), ("--nodeport-addresses", "eth0")),
        (("stray",), ("stray",)),
    ],
)
def test_a_wrong_flag_changes_nothing(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    with one_node() as node:
        code, lines = run(node, *agent_arguments(node), *arguments)
        assert code == 2
        assert len(lines) == 1
        assert all(word in lines[0] for word in words), lines
        assert untouched(node)


def test_a_sysctl_that_can_not_be_set_is_named_with_its_flag() -> None:
    with one_node() as node:
        arguments = [word for word in agent_arguments(node) if word not in ("--conntrack-max-per-core",)]
        arguments.remove("0")
        code, lines = run(node, *arguments, "--conntrack-min", "131073", "--conntrack-max-per-core", "1")
        assert code == 1
        assert len(lines) == 1
        assert "net.netfilter.nf_conntrack_max" in lines[0]
        assert "--conntrack-max-per-core" in lines[0]


@pytest.mark.parametrize("variant", ["legacy"])
def test_a_held_lock_is_waited_for_and_its_holder_named(variant: str) -> None:
    with one_node() as node:
        node.manifests.write("web", web())
        lock = Path(node.env["XTABLES_LOCKFILE"])
        with node.agent("--iptables-variant", variant) as agent:
            agent.wait_ready()
            with lock.open("a", encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                node.manifests.write("web", web(endpoints=("10.244.1.99",)))
                eventually(lambda: "xtables lock is held by" in agent.log.read_text(), "the holder is named", 20)
                held = next(line for line in agent.log.read_text().splitlines() if "xtables lock is held by" in line)
                name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
                assert f"held by {name} (pid " in held
            eventually(lambda: "10.244.1.99:8080" in node.saved(variant, "nat"), "the change is applied", 20)
            eventually(lambda: agent.health().status == 200, "healthy again")


def test_a_service_the_kernel_refuses_is_left_out_and_the_rest_applied() -> None:
    """No object can make an impossible rule, so one is made behind the planner's back."""
    with one_node() as node:
        node.manifests.write("web", web())
        node.manifests.write("other", web("other", "10.96.0.11"))
        code = (
            "from kproxy.plan.iptables import service\n"
            "made = service.frontend_match\n"
            "bad = lambda ip: ip + '0000' if ip == '10.96.0.11' else ip\n"
            "service.frontend_match = lambda protocol, ip, port: made(protocol, bad(ip), port)\n"
            "from kproxy.cli import main\nmain()"
        )
        with node.agent(program=(sys.executable, "-c", code, "run")) as agent:
            agent.wait_ready()
            assert "10.96.0.10/32" in node.saved("nft", "nat")
            assert "refused: Service lab/other" in agent.log.read_text()
            assert "Service lab/web" not in agent.log.read_text()


def test_conflicts_and_faults_are_named_and_the_others_served() -> None:
    with one_node() as node:
        node.manifests.write("a", web("aaa"))
        node.manifests.write("b", web("bbb"))
        node.manifests.path.joinpath("c.yaml").write_text(
            "apiVersion: v1\nkind: Service\nmetadata: {name: ccc}\nspec:\n"
            "  clusterIP: 10.96.0.12\n  ports:\n  - port: http\n",
            encoding="utf-8",
        )
        with node.agent() as agent:
            agent.wait_ready()
            log = agent.log.read_text()
            assert "refused: Service lab/bbb: 10.96.0.10 80/TCP belongs to Service lab/aaa; skipped" in log
            assert "refused: c.yaml:7: spec.ports[0].port" in log
            assert agent.metric("kproxy_source_errors") == 2
            assert "lab/aaa:http cluster IP" in node.saved("nft", "nat")
