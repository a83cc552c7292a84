"""Which families a sync is for, and what one that fails leaves in the metrics. No kernel, no packets."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane import address_watch
from kproxy.errors import KernelError, ObjectError, OwnAddress, RestoreRefused
from kproxy.events.log import EventLog
from kproxy.health.shared import ProxierHealth
from kproxy.metrics.registry import Metrics
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from kproxy.syncer import Syncer
from tests.agent.fakes import FakeProxier
from tests.health.client import free_ports, get
from tests.health.client import refused as nobody_listens
from tests.plan.iptables.rig import make_config
from tests.state.objects import NODE, here, node, service
from tests.state.shorthand import make_slice

if TYPE_CHECKING:
    from collections.abc import Iterator

V4, V6 = FAMILIES
SYNC = "kubeproxy_sync_proxy_rules"


class Bench:
    """A syncer over two fake proxiers on a node without Services."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.v4, self.v6 = FakeProxier(V4), FakeProxier(V6)
        config, health = make_config(), ProxierHealth(30.0)
        self.state = ClusterState(NODE)
        self.syncer = Syncer(config, self.state, (self.v4, self.v6), health, self.metrics, EventLog())
        self.addresses: dict[Family, tuple[str, ...]] = {V4: ("192.0.2.1",), V6: ("2001:db8::1",)}
        self.unreadable: KernelError | None = None

    def sync(self, *, full: bool = False) -> bool:
        return asyncio.run(self.syncer.sync(full=full))

    def local_addresses(self, **_: object) -> dict[Family, tuple[str, ...]]:
        if self.unreadable is not None:
            raise self.unreadable
        return self.addresses

    def change(self, *endpoints: str, family: Family = V4) -> None:
        """The IPv4 Service and its slice are there, or the IPv6 ones, with these endpoints."""
        name = f"ns1/{family.lower()}"
        web = service(name, ips=["172.30.0.41" if family is V4 else "fd00::41"])
        ends = make_slice(" ".join(endpoints), f"{family}-1", name, family, [{"name": "", "port": 8080}])
        self.state.apply([here(web), here(ends)])

    def counted(self, family: Family = V4) -> dict[str, float]:
        """Syncs by kind, and failures."""
        return {
            "full": self.sample("kubeproxy_sync_full_proxy_rules_duration_seconds_count", family),
            "partial": self.sample("kubeproxy_sync_partial_proxy_rules_duration_seconds_count", family),
            "failed": self.sample("kproxy_sync_failures_total", family),
            "restores": self.sample(f"{SYNC}_iptables_restore_failures_total", family),
            "partial restores": self.sample(f"{SYNC}_iptables_partial_restore_failures_total", family),
        }

    def sample(self, name: str, family: Family) -> float:
        return self.metrics.registry.get_sample_value(name, {"ip_family": family}) or 0.0


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()
    monkeypatch.setattr(address_watch, "local_addresses", made.local_addresses)
    yield made
    made.syncer.close()


def refused() -> KernelError:
    error = RestoreRefused("iptables-restore: line 3 failed", line=3)
    error.while_writing = True
    return error


def test_a_failed_sync_is_in_the_durations_as_what_it_was(bench: Bench) -> None:
    """kube-proxy observes every sync when it ends, whichever way. After a failure everything is written again."""
    bench.v4.fail_next = refused()
    assert not bench.sync()
    assert bench.counted() == {"full": 1, "partial": 0, "failed": 1, "restores": 1, "partial restores": 0}
    assert bench.counted(V6) == {"full": 1, "partial": 0, "failed": 0, "restores": 0, "partial restores": 0}
    assert bench.sync()
    bench.change("a1")
    bench.v4.fail_next = refused()
    assert not bench.sync()
    assert bench.counted() == {"full": 2, "partial": 1, "failed": 2, "restores": 2, "partial restores": 1}
    assert bench.sync()
    assert bench.sync(full=True)
    assert bench.counted()["full"] == 4
    assert bench.sample(f"{SYNC}_duration_seconds_count", V4) == 5


def test_a_table_that_cannot_be_read_is_no_failed_restore(bench: Bench) -> None:
    bench.v4.fail_next = KernelError("iptables-save: exit code 1")
    assert not bench.sync()
    assert bench.counted() == {"full": 1, "partial": 0, "failed": 1, "restores": 0, "partial restores": 0}


def test_addresses_that_cannot_be_read_are_no_failed_restore(bench: Bench) -> None:
    """The sync did not begin, so it took no time; but it failed."""
    bench.unreadable = KernelError("the addresses of this node can't be read: permission denied")
    assert not bench.sync()
    for family in FAMILIES:
        assert bench.counted(family) == {"full": 0, "partial": 0, "failed": 1, "restores": 0, "partial restores": 0}
    assert (bench.v4.syncs, bench.v6.syncs) == (0, 0)
    bench.unreadable = None
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (1, 1)


def test_a_family_that_nothing_changed_for_is_left_alone(bench: Bench) -> None:
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (1, 1)
    assert bench.sync()
    bench.change("a1")
    assert bench.sync()
    bench.change("a1")
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (2, 1)
    bench.change("a1", family=V6)
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (2, 2)
    assert bench.sync(full=True)
    assert (bench.v4.syncs, bench.v6.syncs) == (3, 3)


def test_what_failed_is_due_until_it_succeeds(bench: Bench) -> None:
    bench.v4.fail_next = refused()
    assert not bench.sync()
    bench.v4.fail_next = refused()
    assert not bench.sync()
    assert bench.sync()
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (3, 1)


def test_the_node_concerns_all_families(bench: Bench) -> None:
    assert bench.sync()
    bench.state.apply([here(node(labels={"topology.kubernetes.io/zone": "z1"}))])
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (2, 2)


def test_an_address_that_is_the_nodes_own_is_an_event(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is so on this node alone. What every node sees, such as what the kernel refuses, is no Event."""
    bench.v4.refused = {
        "ns1/web": OwnAddress("Service ns1/web", "spec.externalIPs", "192.0.2.1 is an address of this node"),
        "ns1/odd": ObjectError("Service ns1/odd", "", "too long"),
    }
    for _ in range(2):
        assert bench.sync()
    told = "192.0.2.1 is an address of this node"
    assert [record.getMessage() for record in caplog.records if "NotServed" in record.getMessage()] == [
        f"Service ns1/web: AddressNotServed: node {NODE}: Service ns1/web: spec.externalIPs: {told}"
    ]


def test_a_refused_service_is_tried_again_when_it_is_touched(bench: Bench) -> None:
    bench.change("a1")
    assert bench.sync()
    bench.v4.refused = {"ns1/ipv4": ObjectError("Service ns1/ipv4", "", "too long")}
    bench.change("a1")
    assert bench.sync()
    assert (bench.v4.syncs, bench.v6.syncs) == (2, 1)


def test_a_health_check_tells_of_an_endpoint_when_its_rules_are_there(bench: Bench) -> None:
    """Until then it says what it said before: that is what the kernel does. The other family has no part in it."""
    (port,) = free_ports(1)
    local = service(
        "ns1/ipv4", ips=["172.30.0.41"], type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=port
    )

    def endpoints(*words: str) -> None:
        ends = make_slice(" ".join(words), "ipv4-1", "ns1/ipv4", V4, [{"name": "", "port": 8080}])
        bench.state.apply([here(local), here(ends)])

    endpoints("a1")
    bench.v4.fail_next = bench.v6.fail_next = refused()
    assert not bench.sync()
    assert nobody_listens(port)
    bench.v6.fail_next = refused()
    assert not bench.sync()
    assert get(port).json()["localEndpoints"] == 1
    endpoints("a1", "a2")
    bench.v4.fail_next = refused()
    assert not bench.sync()
    assert get(port).json()["localEndpoints"] == 1
    assert bench.sync()
    assert get(port).json()["localEndpoints"] == 2


def test_a_line_for_each_sync_says_what_changed(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("kproxy"), "propagate", True)
    bench.v4.written = "2 elements"
    with caplog.at_level(logging.INFO, "kproxy"):
        bench.change("a1")
        assert bench.sync()
        bench.state.apply([here(service(f"ns1/s{number}", ips=[f"172.30.0.{number}"])) for number in range(1, 6)])
        assert bench.sync()
        assert bench.sync()
    said = [re.sub(r"\d+ ms", "N ms", record.getMessage()) for record in caplog.records]
    assert said == [
        "IPv4: full sync in N ms (ns1/ipv4): wrote 2 elements, deleted 0",
        "IPv4: partial sync in N ms (5 Services): wrote 2 elements, deleted 0",
    ]
    fields = [record.__dict__["fields"] for record in caplog.records]
    assert [(one["kind"], one["services"], one["written"]) for one in fields] == [
        ("full", 1, "2 elements"),
        ("partial", 5, "2 elements"),
    ]
