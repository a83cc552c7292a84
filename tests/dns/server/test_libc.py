"""Programs ask the C library, and that asks DNS: search lists, `ndots:5`, A and AAAA at once, TCP for what is cut."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.dns.server.running import ADDRESS, WORLD, Node, dns_node, headless
from tests.dns.server.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

RESOLV_CONF = f"""\
nameserver {ADDRESS}
search shop.svc.cluster.local svc.cluster.local cluster.local corp.example
options ndots:5
"""
#: As a Pod has it that has long paths of its own, with underscores, and the root.
PATHS = " ".join(f"a-long_search-path-{number}.{'x' * 50}.corp.example" for number in range(4))
LONG_RESOLV_CONF = RESOLV_CONF.replace("corp.example", f"{PATHS} .")
CLUSTER = "shop.svc.cluster.local"
MANY = [f"10.244.2.{number}" for number in range(1, 101)]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with dns_node() as node, World(node.namespace, WORLD) as world:
        node.manifests.write("db", headless("db", "10.244.1.1=db-0", "10.244.1.2=db-1"))
        node.manifests.write("many", headless("many", *MANY))
        (node.run.directory / "resolv.conf").write_text(RESOLV_CONF)
        (node.run.directory / "long.conf").write_text(LONG_RESOLV_CONF)
        with node.server(upstream=world):
            yield node


def addresses(node: Node, name: str, *, resolv_conf: str = "resolv.conf") -> list[str]:
    """What getaddrinfo() finds, in a mount namespace with a resolv.conf of its own."""
    path: Path = node.run.directory / resolv_conf
    script = 'mount --bind "$0" /etc/resolv.conf && exec getent -s dns ahosts "$1"'
    argv = ["unshare", "--mount", "sh", "-c", script, str(path), name]
    done = subprocess.run(node.namespace.command(argv), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 2), done.stderr  # 2: no such name
    return sorted({line.split()[0] for line in done.stdout.splitlines()})


@pytest.mark.parametrize(
    "name", ["db", "db.shop", "db.shop.svc", "db.shop.svc.cluster.local", "db.shop.svc.cluster.local."]
)
def test_partial_names(node: Node, name: str) -> None:
    assert addresses(node, name) == ["10.244.1.1", "10.244.1.2"]


@pytest.mark.parametrize("name", ["db-1.db", f"db-1.db.{CLUSTER}", "DB-1.Db"])
def test_a_pod_of_a_stateful_set(node: Node, name: str) -> None:
    assert addresses(node, name) == ["10.244.1.2"]


def test_a_name_outside_is_found_at_the_end_of_the_search_list(node: Node) -> None:
    assert addresses(node, "www.example") == ["192.0.2.80"]


def test_more_addresses_than_a_datagram_holds(node: Node) -> None:
    assert addresses(node, "many") == sorted(MANY)


def test_a_long_search_list_with_odd_names(node: Node) -> None:
    assert addresses(node, "db-0.db", resolv_conf="long.conf") == ["10.244.1.1"]


def test_what_is_not_there(node: Node) -> None:
    assert addresses(node, "none") == []
    assert addresses(node, f"db-7.db.{CLUSTER}.") == []
