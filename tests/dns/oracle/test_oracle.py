"""Every name of the table and every type, asked of CoreDNS and of kproxy over the same API server."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.controlplane.control_plane import ADMIN_TOKEN
from tests.controlplane.objects import create_running_pod
from tests.dns.cluster import records
from tests.dns.fixtures import REVERSE_NETWORKS
from tests.dns.oracle.coredns import CoreDns
from tests.dns.oracle.known import KNOWN, Asked, Reply
from tests.dns.oracle.objects import cluster_objects, create
from tests.dns.server.running import DnsProcess
from tests.dns.server.world import World
from tests.dns.table import rows
from tests.lab import Cluster, Namespace, scaled
from tests.peers import require

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

TYPES = ("A", "AAAA", "SRV", "TXT", "NS", "SOA", "CNAME", "PTR", "MX", "HTTPS", "ANY")
THEM, US, WORLD = "10.99.0.1", "10.99.0.2", "10.99.0.3"
MORE_NAMES = (
    "double.shop.svc.cluster.local.",
    "_http._tcp.double.shop.svc.cluster.local.",
    "10-244-8-1.double.shop.svc.cluster.local.",
    "1.8.244.10.in-addr.arpa.",
    "w-a.web.shop.svc.cluster.local.",
    "_http._tcp.alias.shop.svc.cluster.local.",
    "default.svc.cluster.local.",
    "kubernetes.default.svc.cluster.local.",
    "_https._tcp.kubernetes.default.svc.cluster.local.",
    "www.example.",
    "none.example.",
)
DIFFERENCES = Path(__file__).parents[3] / "docs" / "differences.md"


#: name -> CoreDNS's options and ours.
CONFIGURATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "usual": (
        ("pods insecure", "zonal", "endpoint_pod_names"),
        ("--dns-pods=insecure", "--dns-zonal", "--dns-endpoint-pod-names"),
    ),
    "strict": (
        ("pods verified", "namespaces shop podns", "ignore empty_service"),
        ("--dns-pods=verified", "--dns-namespaces=shop,podns", "--dns-ignore-empty-service"),
    ),
    "without endpoints": (("pods disabled", "noendpoints"), ("--dns-pods=disabled", "--dns-no-endpoints")),
}


@pytest.fixture(scope="module")
def control() -> Iterator[ControlPlane]:
    require("etcd", "kube-apiserver", "coredns")
    with Cluster(plan_with_control_plane()) as cluster, ControlPlane.of(cluster) as control:
        with closing(control.api()) as api:
            create(api, cluster_objects())
        with control.typed() as typed:
            create_running_pod(typed, "p1", "podns", {}, node="node-a", addresses=["10.240.0.1"])
        link = control.namespace.run("ip", "-o", "address", "show", "to", control.address).split()[1]
        for address in (THEM, US, WORLD):
            control.namespace.run("ip", "address", "add", f"{address}/32", "dev", link)
        yield control


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def asked(request: pytest.FixtureRequest, control: ControlPlane) -> Iterator[list[Asked]]:
    """Every question with both answers."""
    theirs, ours = CONFIGURATIONS[request.param]
    namespace = control.namespace
    source = ("--kubeconfig", str(control.kubeconfig("dns", token=ADMIN_TOKEN)), "--dns-upstream", WORLD)
    listening = ("--dns-bind-address", f"{US}:53", "--dns-metrics-bind-address", "127.0.0.1:9154")
    reverse = ("--dns-reverse", ",".join(REVERSE_NETWORKS))
    server = DnsProcess(namespace, [*source, *listening, *reverse, *ours], 9154)
    with World(namespace, WORLD), server, CoreDns(control, THEM, WORLD, theirs):
        names = dict.fromkeys([*(row.name for row in rows()), *MORE_NAMES])
        yield [_both(namespace, name, qtype) for name in names for qtype in TYPES]


def _both(namespace: Namespace, name: str, qtype: str) -> Asked:
    return Asked(name, qtype, _reply(namespace, THEM, name, qtype), _reply(namespace, US, name, qtype))


def _reply(namespace: Namespace, server: str, name: str, qtype: str) -> Reply:
    """By TCP, so that nothing is cut."""
    query = dns.message.make_query(name, qtype, use_edns=0, payload=1232)
    reply = namespace.call(lambda: dns.query.tcp(query, server, timeout=scaled(10)))
    sections = [
        frozenset(_without_serial(record).replace(server, "SERVER") for record in records(section))
        for section in reply.sections[1:]
    ]
    return Reply(dns.rcode.to_text(reply.rcode()), dns.flags.to_text(reply.flags & ~dns.flags.RA), *sections)


def _without_serial(record: str) -> str:
    words = record.split()
    return " ".join(words[:5] + words[6:]) if words[2] == "SOA" else record


def test_both_say_the_same(asked: list[Asked], request: pytest.FixtureRequest) -> None:
    found = Counter[str]()
    unknown = []
    for one in asked:
        if one.theirs != one.ours:
            known = next((known.row for known in KNOWN if known.is_it(one)), None)
            found[known or ""] += 1
            if known is None:
                unknown.append(str(one))
    assert not unknown, "\n".join(unknown)
    assert len(asked) > 1000
    if request.node.callspec.params["asked"] == "usual":
        stale = [known.row for known in KNOWN if not found[known.row]]
        assert not stale, "these are no differences any more"


def test_names_exist_for_all_types_or_for_none(asked: list[Asked]) -> None:
    rcodes: dict[str, set[str]] = {}
    for one in asked:
        rcodes.setdefault(one.name, set()).add(one.ours.rcode)
    # A CNAME that leaves the zone has the rcode of what is outside.
    assert {name: found for name, found in rcodes.items() if len(found) > 1} == {}


def test_every_difference_is_written_down() -> None:
    text = DIFFERENCES.read_text(encoding="utf-8")
    assert [known.row for known in KNOWN if f"| {known.row} |" not in text] == []
