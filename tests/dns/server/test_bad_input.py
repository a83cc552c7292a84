"""What a user can do wrong at the start is one line that names it."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.dns.server.running import ADDRESS, ADDRESS6, Node, dns_node, headless
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with dns_node() as node:
        yield node


def complaint(node: Node, *arguments: str) -> tuple[int, str]:
    """Run `kproxy dns` to its end: exit code, and what it complains of."""
    bind = () if "--dns-bind-address" in arguments else ("--dns-bind-address", f"{ADDRESS}:53")
    source = () if "--manifests" in arguments else ("--manifests", str(node.manifests.path))
    argv = [sys.executable, "-m", "kproxy", "dns", *source, *bind, "--dns-metrics-bind-address", "", *arguments]
    done = subprocess.run(node.namespace.command(argv), capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("kproxy:") or "Traceback" in line]
    assert len(lines) == 1, done.stderr
    return done.returncode, lines[0]


@pytest.mark.parametrize(("kind", "name"), [(socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")])
def test_a_port_that_is_taken_names_who_has_it(node: Node, kind: socket.SocketKind, name: str) -> None:
    code = (
        "import socket, sys, time; s = socket.socket(socket.AF_INET, int(sys.argv[1])); s.bind((sys.argv[2], 53));"
        "s.type == socket.SOCK_STREAM and s.listen(); print('bound', flush=True); time.sleep(60)"
    )
    holder = node.namespace.popen(
        [sys.executable, "-c", code, str(int(kind)), ADDRESS], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "bound\n"
        exit_code, line = complaint(node)
        assert exit_code == 1
        assert f"can't listen on {ADDRESS}:53 ({name}): it is taken by python" in line
        assert f"(process {holder.pid})" in line
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()  # type: ignore[union-attr]


def test_an_address_that_the_node_does_not_have(node: Node) -> None:
    code, line = complaint(node, "--dns-bind-address", "198.51.100.1:53")
    assert code == 1
    assert "can't listen on 198.51.100.1:53 (TCP): no interface of this node has the address" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--cluster-domain", "not_a domain"), "--cluster-domain: 'not_a domain' is not a domain name"),
        (("--cluster-domain", "."), "--cluster-domain: the root can't be the cluster's domain"),
        (("--dns-bind-address", "localhost:53"), "--dns-bind-address: 'localhost:53' is not an address"),
        (("--dns-bind-address", ":53"), "--dns-bind-address: ':53' names no address"),
        (("--dns-bind-address", "127.0.0.1:0"), "--dns-bind-address: '127.0.0.1:0' names no port"),
        (
            ("--dns-bind-address", "127.0.0.1:53,127.0.0.1"),
            "--dns-bind-address, --dns-node-local, --dns-intercept: an address is there twice",
        ),
        (("--dns-node-local", "169.254.20"), "--dns-node-local: '169.254.20' is not an IP address"),
        (("--dns-node-local", "fe80::1"), "--dns-node-local: pods can't ask fe80::1"),
        (("--dns-intercept", "127.0.0.1"), "--dns-intercept: pods can't ask 127.0.0.1"),
        (("--dns-upstream", "dns.example"), "--dns-upstream: 'dns.example' is not an address"),
        (("--dns-upstream", f"{ADDRESS}"), f"--dns-upstream: {ADDRESS}:53 is this server itself"),
        (("--dns-ttl", "4000"), "--dns-ttl: 4000 is not in 0..3600 seconds"),
        (("--dns-reverse", "10.0.0.0/33"), "--dns-reverse: "),
        (("--logging-format", "xml"), "--logging-format: 'xml' is unknown"),
        (("--dns-transfer-to", "10.0.0.1/8"), "--dns-transfer-to: 10.0.0.1/8 has host bits set"),
        (("--dns-workers", "0"), "--dns-workers: 0 is not in range"),
    ],
)
def test_a_wrong_value(node: Node, arguments: tuple[str, ...], says: str) -> None:
    code, line = complaint(node, *arguments)
    assert code == 2
    assert line.startswith(f"kproxy: {says}")


def test_no_address_at_all(node: Node) -> None:
    assert complaint(node, "--dns-bind-address", "")[1].startswith("kproxy: --dns-bind-address: is missing")


def test_a_directory_that_is_not_there(node: Node) -> None:
    assert complaint(node, "--manifests", "/nowhere") == (
        1,
        "kproxy: --manifests /nowhere: no such directory - create it, or name another",
    )


def test_a_ready_file_that_can_not_be(node: Node) -> None:
    file = "/proc/version/ready"
    assert complaint(node, "--dns-ready-file", file) == (
        1,
        f"kproxy: --dns-ready-file {file}: not a directory"
        " - name a file in a directory that is there and may be written to",
    )


def test_a_loop_is_found_at_the_start(node: Node) -> None:
    """Two servers that ask each other. The second one finds out."""
    first = node.server("--dns-bind-address", f"[{ADDRESS6}]:53", upstream=ADDRESS)
    first.start()
    try:
        first.wait_ready()
        code, line = complaint(node, "--dns-upstream", ADDRESS6)
        assert code == 1
        assert line.startswith(
            f"kproxy: a query sent to [{ADDRESS6}]:53 (from --dns-upstream) came back to this server"
        )
    finally:
        first.stop()


def test_an_object_that_has_no_place_in_dns_is_named(node: Node) -> None:
    """Beside one that has; the bad one is an ExternalName Service whose target is no name."""
    bad = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "bad", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "no name"},
    }
    node.manifests.write("objects", [bad, *headless("db", "10.0.0.1")])
    with node.server() as server:
        assert node.ips("db.shop.svc.cluster.local") == ["10.0.0.1"]
        line = "refused: Service shop/bad: spec.externalName: 'no name' is not a domain name"
        eventually(lambda: line in server.said(), "the bad object is named", 10)
        assert node.rcode("bad.shop.svc.cluster.local") == "NXDOMAIN"
    node.manifests.clear()
