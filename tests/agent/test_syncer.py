"""What a sync that fails leaves in the metrics. No kernel, no packets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kproxy import syncer as module
from kproxy.errors import KernelError, RestoreRefused
from kproxy.health.shared import ProxierHealth
from kproxy.metrics.registry import Metrics
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from kproxy.syncer import Syncer
from tests.agent.fakes import FakeProxier
from tests.plan.iptables.rig import make_config
from tests.state.objects import NODE

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
        self.syncer = Syncer(config, ClusterState(NODE), (self.v4, self.v6), health, self.metrics)

    def sync(self, *, full: bool = False) -> bool:
        return asyncio.run(self.syncer.sync(full=full))

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
    monkeypatch.setattr(module, "local_addresses", lambda: {V4: ("192.0.2.1",), V6: ("2001:db8::1",)})
    made = Bench()
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


def test_addresses_that_cannot_be_read_are_no_failed_restore(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync did not begin, so it took no time; but it failed."""

    def unreadable() -> dict[Family, tuple[str, ...]]:
        raise KernelError("the addresses of this node can't be read: permission denied")

    monkeypatch.setattr(module, "local_addresses", unreadable)
    assert not bench.sync()
    for family in FAMILIES:
        assert bench.counted(family) == {"full": 0, "partial": 0, "failed": 1, "restores": 0, "partial restores": 0}
    assert (bench.v4.syncs, bench.v6.syncs) == (0, 0)
