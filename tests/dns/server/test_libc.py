"""Programs ask the C library, and that asks DNS: every kind of name, from glibc's programs and from musl's.

Each has its own way with search lists, `ndots:5`, negative answers, and what is cut. `lookup.c` is built with both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import dns.rdatatype
import dns.reversename
import pytest

from tests.dns.server.running import ADDRESS, WORLD, Node, dns_node, headless
from tests.dns.server.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.manifests import Object

pytestmark = pytest.mark.root

RESOLV_CONF = f"""\
nameserver {ADDRESS}
search shop.svc.cluster.local svc.cluster.local cluster.local corp.example
options ndots:5
"""
#: As a Pod has it that has long paths of its own, with underscores, and the root.
PATHS = " ".join(f"a-long_search-path-{number}.{'x' * 50}.corp.example" for number in range(4))
RESOLV_CONFS = {
    "usual": RESOLV_CONF,
    "long": RESOLV_CONF.replace("corp.example", f"{PATHS} ."),
    "tcp": RESOLV_CONF.replace("options", "options use-vc"),
}
CLUSTER = "shop.svc.cluster.local"
MANY = [f"10.244.2.{number}" for number in range(1, 101)]
LIBRARIES = {"glibc": ("gcc", "-lresolv"), "musl": ("musl-gcc", "-static")}
#: By UDP, and by TCP alone; musl has no such option, and asks by TCP only for what is cut, since 1.2.4.
WAYS = [("glibc", "usual"), ("glibc", "tcp"), ("musl", "usual")]
SOURCE = Path(__file__).with_name("lookup.c")

#: Of each kind one: whole name, type, and what it has.
WHOLE_NAMES = [
    (f"db.{CLUSTER}", "A", ["10.244.1.1", "10.244.1.2"]),
    (f"db-1.db.{CLUSTER}", "A", ["10.244.1.2"]),
    (f"10-244-2-7.many.{CLUSTER}", "A", ["10.244.2.7"]),
    (f"web.{CLUSTER}", "A", ["10.96.0.1"]),
    (f"web.{CLUSTER}", "AAAA", ["fd00:96::1"]),
    (f"six.{CLUSTER}", "AAAA", ["fd00:96::6"]),
    (f"six.{CLUSTER}", "A", []),
    (f"outside.{CLUSTER}", "CNAME", ["www.example"]),
    (f"outside.{CLUSTER}", "A", ["192.0.2.80"]),
    (f"inside.{CLUSTER}", "A", ["10.244.1.1", "10.244.1.2"]),
    ("10-244-1-1.shop.pod.cluster.local", "A", ["10.244.1.1"]),
    (f"_pg._tcp.db.{CLUSTER}", "SRV", [f"5432 db-0.db.{CLUSTER}", f"5432 db-1.db.{CLUSTER}"]),
    (dns.reversename.from_address("10.244.1.2").to_text(), "PTR", [f"db-1.db.{CLUSTER}"]),
    (dns.reversename.from_address("fd00:96::6").to_text(), "PTR", [f"six.{CLUSTER}"]),
    ("dns-version.cluster.local", "TXT", ["1.1.0"]),
    ("cluster.local", "NS", ["ns.dns.cluster.local"]),
    ("www.example", "A", ["192.0.2.80"]),
    (f"none.{CLUSTER}", "A", []),
]


class Program:
    """`lookup` as it was built with one of the libraries, on a node, with one of the `RESOLV_CONFS`."""

    def __init__(self, node: Node, library: str, resolv_conf: str = "usual") -> None:
        self.library = library
        self._node = node
        self._resolv_conf = resolv_conf
        self._path = node.run.directory / f"lookup-{library}"
        if not self._path.exists():
            compiler, *options = LIBRARIES[library]
            _require(compiler)
            subprocess.run([compiler, "-Wall", "-Werror", "-o", self._path, SOURCE, *options], check=True, timeout=60)

    def addresses(self, name: str) -> list[str]:
        """What getaddrinfo() finds."""
        return self._run("addresses", name)

    def name(self, address: str) -> list[str]:
        """What getnameinfo() finds."""
        return self._run("name", address)

    def records(self, over: str, name: str, qtype: str) -> list[str]:
        """What res_mkquery() and a socket find."""
        return self._run(over, str(int(dns.rdatatype.from_text(qtype))), name, ADDRESS)

    def _run(self, *words: str) -> list[str]:
        """In a mount namespace with a resolv.conf of its own."""
        path = self._node.run.directory / self._resolv_conf
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", script, str(path), str(self._path), *words]
        command = self._node.namespace.command(argv)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 2), done.stderr  # 2: no such name
        return sorted({*done.stdout.splitlines()})


def _require(compiler: str) -> None:
    if not shutil.which(compiler):
        missing = f"{compiler} must be installed"
        if os.environ.get("CI", "") not in ("", "false"):
            pytest.fail(f"in CI every test runs: {missing}", pytrace=False)
        pytest.skip(f"NOT RUN: {missing}")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with dns_node() as node, World(node.namespace, WORLD) as world:
        node.manifests.write("db", headless("db", "10.244.1.1=db-0", "10.244.1.2=db-1"))
        node.manifests.write("many", headless("many", *MANY))
        node.manifests.write("web", [service("web", ["10.96.0.1", "fd00:96::1"]), service("six", ["fd00:96::6"])])
        names = {"outside": "www.example", "inside": f"db.{CLUSTER}"}
        node.manifests.write("names", [external_name(name, target) for name, target in names.items()])
        for name, text in RESOLV_CONFS.items():
            (node.run.directory / name).write_text(text)
        with node.server(upstream=world):
            yield node


def service(name: str, ips: list[str]) -> Object:
    spec = {"clusterIP": ips[0], "clusterIPs": ips, "ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def external_name(name: str, target: str) -> Object:
    spec = {"type": "ExternalName", "externalName": target}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def program(request: pytest.FixtureRequest, node: Node) -> Program:
    return Program(node, *request.param)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("over", ["udp", "tcp"])
@pytest.mark.parametrize(("name", "qtype", "expected"), WHOLE_NAMES, ids=lambda value: str(value).partition(".")[0])
def test_141_every_kind_of_name(
    node: Node, library: str, over: str, name: str, qtype: str, expected: list[str]
) -> None:
    assert Program(node, library).records(over, name, qtype) == expected


@pytest.mark.parametrize("name", ["db", "db.shop", "db.shop.svc", f"db.{CLUSTER}", f"db.{CLUSTER}."])
def test_partial_names(program: Program, name: str) -> None:
    assert program.addresses(name) == ["10.244.1.1", "10.244.1.2"]


@pytest.mark.parametrize("name", ["db-1.db", f"db-1.db.{CLUSTER}", "DB-1.Db"])
def test_145_a_pod_of_a_stateful_set(program: Program, name: str) -> None:
    assert program.addresses(name) == ["10.244.1.2"]


def test_both_families_and_one_of_them(program: Program) -> None:
    """musl takes a name for absent when it does not exist for one of the types."""
    assert program.addresses("web") == ["10.96.0.1", "fd00:96::1"]
    assert program.addresses("six") == ["fd00:96::6"]


def test_another_name_of_a_service(program: Program) -> None:
    assert program.addresses("outside") == ["192.0.2.80"]
    assert program.addresses("inside.shop") == ["10.244.1.1", "10.244.1.2"]


def test_the_name_of_an_address(program: Program) -> None:
    assert program.name("10.244.1.2") == [f"db-1.db.{CLUSTER}"]
    assert program.name("fd00:96::6") == [f"six.{CLUSTER}"]
    assert program.name("10.96.0.1") == [f"web.{CLUSTER}"]


def test_a_name_outside_is_found_at_the_end_of_the_search_list(program: Program) -> None:
    assert program.addresses("www.example") == ["192.0.2.80"]


def test_more_addresses_than_a_datagram_holds(program: Program) -> None:
    found = program.addresses("many")
    if program.library == "glibc":
        assert found == sorted(MANY)
    else:  # it keeps 48 at the most, and before 1.2.4 what was in the datagram, which is as full as can be
        assert 28 <= len(found) <= 48
        assert set(found) < set(MANY)


@pytest.mark.parametrize("library", LIBRARIES)
def test_144_a_long_search_list_with_odd_names(node: Node, library: str) -> None:
    program = Program(node, library, "long")
    assert program.addresses(f"db-0.db.{CLUSTER}") == ["10.244.1.1"]
    if library == "glibc":  # musl passes over a line of more than 256 octets
        assert program.addresses("db-0.db") == ["10.244.1.1"]


def test_what_is_not_there(program: Program) -> None:
    assert program.addresses("none") == []
    assert program.addresses(f"db-7.db.{CLUSTER}.") == []
