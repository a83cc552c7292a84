"""The metrics as a scraper sees them, against a table typed from the reference (section 7.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

import kproxy
from kproxy.kube.client import Exchange
from kproxy.metrics.registry import Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

B1 = ".001 .002 .004 .008 .016 .032 .064 .128 .256 .512 1.024 2.048 4.096 8.192 16.384"
B2 = (
    "0 .25 .5 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38"
    " 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 65 70 75 80 85 90 95 100 105 110 115 120 150"
    " 180 210 240 270 300"
)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    type: str
    labels: tuple[str, ...] = ()
    buckets: str = ""


KUBE_PROXY = [
    Row("sync_proxy_rules_duration_seconds", "histogram", ("ip_family",), B1),
    Row("sync_full_proxy_rules_duration_seconds", "histogram", ("ip_family",), B1),
    Row("sync_partial_proxy_rules_duration_seconds", "histogram", ("ip_family",), B1),
    Row("sync_proxy_rules_last_timestamp_seconds", "gauge", ("ip_family",)),
    Row("sync_proxy_rules_last_queued_timestamp_seconds", "gauge", ("ip_family",)),
    Row("network_programming_duration_seconds", "histogram", ("ip_family",), B2),
    Row("sync_proxy_rules_endpoint_changes_pending", "gauge"),
    Row("sync_proxy_rules_endpoint_changes_total", "counter"),
    Row("sync_proxy_rules_service_changes_pending", "gauge"),
    Row("sync_proxy_rules_service_changes_total", "counter"),
    Row("sync_proxy_rules_no_local_endpoints_total", "gauge", ("ip_family", "traffic_policy")),
    Row("proxy_healthz_total", "counter", ("code",)),
    Row("proxy_livez_total", "counter", ("code",)),
    Row("sync_proxy_rules_iptables_total", "gauge", ("ip_family", "table")),
    Row("sync_proxy_rules_iptables_last", "gauge", ("ip_family", "table")),
    Row("sync_proxy_rules_iptables_restore_failures_total", "counter", ("ip_family",)),
    Row("sync_proxy_rules_iptables_partial_restore_failures_total", "counter", ("ip_family",)),
    Row("iptables_ct_state_invalid_dropped_packets_total", "counter"),
    Row("iptables_localhost_nodeports_accepted_packets_total", "counter"),
    Row("conntrack_reconciler_sync_duration_seconds", "histogram", ("ip_family",), B1),
    Row("conntrack_reconciler_deleted_entries_total", "counter", ("ip_family",)),
]
ROWS = [Row(f"kubeproxy_{row.name}", row.type, row.labels, row.buckets) for row in KUBE_PROXY] + [
    Row("kproxy_sync_failures_total", "counter", ("ip_family",)),
    Row("kproxy_foreign_changes_total", "counter", ("ip_family",)),
    Row("kproxy_source_errors", "gauge"),
    Row("rest_client_requests_total", "counter", ("code", "host", "method")),
    Row("rest_client_request_duration_seconds", "histogram", ("host", "verb"), ".005 .025 .1 .25 .5 1 2 4 8 15 30 60"),
    Row("kproxy_build_info", "gauge", ("version", "python_version")),
]
PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
}


def full() -> Metrics:
    """Metrics of a dual-stack node with the kernel's counters."""
    metrics = Metrics()
    metrics.family("IPv4")
    metrics.family("IPv6")
    metrics.observe_api_request(Exchange("POST", "api:6443", 200, 0.01))
    metrics.ct_state_invalid_dropped_packets.read = lambda: 7
    metrics.localhost_nodeports_accepted_packets.read = lambda: 8
    return metrics


def types(text: str) -> dict[str, str]:
    """Return name -> type of the `# TYPE` lines, which are what a scraper goes by."""
    lines = [line.split() for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len({words[2] for words in lines}) == len(lines), "no name twice"
    return {words[2]: words[3] for words in lines}


def parsed(metrics: Metrics) -> dict[str, Metric]:
    """Return the parsed families; the parser takes _total off the names of counters, this puts it back."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(metrics.exposition().decode())
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    samples = [sample for family in parsed(metrics).values() for sample in family.samples]
    (found,) = (sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))
    return float(found)


def test_names_and_types() -> None:
    expected = {row.name: row.type for row in ROWS}
    found = types(full().exposition().decode())
    assert {name for name in found if name.startswith("process_")} == PROCESS
    assert {name: kind for name, kind in found.items() if name not in PROCESS} == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_series(row: Row) -> None:
    family = parsed(full())[row.name]
    suffixes = {"_bucket", "_sum", "_count"} if row.buckets else {""}
    assert {sample.name for sample in family.samples} == {row.name + suffix for suffix in suffixes}
    assert {frozenset(sample.labels) - {"le"} for sample in family.samples} == {frozenset(row.labels)}
    for sample in family.samples:
        assert sample.labels.get("ip_family", "IPv4") in ("IPv4", "IPv6")
        assert sample.labels.get("table", "nat") in ("nat", "filter")
        assert sample.labels.get("traffic_policy", "internal") in ("internal", "external")
        assert sample.labels.get("code", "200") in ("200", "503")


@pytest.mark.parametrize("row", [row for row in ROWS if row.buckets], ids=lambda row: row.name)
def test_buckets_are_spelt_as_gos(row: Row) -> None:
    expected = [f"0{bound}" if bound.startswith(".") else bound for bound in row.buckets.split()] + ["+Inf"]
    samples = parsed(full())[row.name].samples
    assert [s.labels["le"] for s in samples if s.labels.get("ip_family") != "IPv4" and "le" in s.labels] == expected


def test_a_mode_shows_its_own_metrics() -> None:
    metrics = Metrics(mode="nftables")
    metrics.family("IPv4").count_write_failure("partial")
    found = types(metrics.exposition().decode())
    assert not [name for name in found if "iptables" in name and "nfacct" not in name and "kubeproxy_sync" in name]
    assert found["kubeproxy_sync_proxy_rules_nftables_sync_failures_total"] == "counter"
    assert found["kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total"] == "counter"
    assert value(metrics, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", ip_family="IPv4") == 1
    assert found["kubeproxy_nftables_localhost_nodeport_listeners"] == "gauge"
    assert found["kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total"] == "counter"


def test_ipvs_mode_has_one_of_the_iptables_metrics_as_kube_proxy_s() -> None:
    metrics = Metrics(mode="ipvs")
    metrics.family("IPv6").count_write_failure("full")
    found = types(metrics.exposition().decode())
    failures = "kubeproxy_sync_proxy_rules_iptables_restore_failures_total"
    assert [name for name in found if name.startswith("kubeproxy_sync") and "tables" in name] == [failures]
    assert value(metrics, failures, ip_family="IPv6") == 1


def test_bucket_counts_of_the_reference() -> None:
    assert (len(B1.split()), len(B2.split())) == (15, 81)


def test_sync_durations() -> None:
    metrics = Metrics()
    ipv4 = metrics.family("IPv4")
    ipv4.observe_sync("full", 0.5)
    ipv4.observe_sync("partial", 0.003)
    ipv4.observe_sync("partial", 0.003)
    durations = {
        name: value(metrics, f"kubeproxy_{name}_duration_seconds_count", ip_family="IPv4")
        for name in ("sync_proxy_rules", "sync_full_proxy_rules", "sync_partial_proxy_rules")
    }
    assert durations == {"sync_proxy_rules": 3, "sync_full_proxy_rules": 1, "sync_partial_proxy_rules": 2}
    bucket = "kubeproxy_sync_partial_proxy_rules_duration_seconds_bucket"
    assert value(metrics, bucket, ip_family="IPv4", le="0.002") == 0
    assert value(metrics, bucket, ip_family="IPv4", le="0.004") == 2


def test_values_reach_their_series() -> None:
    metrics = Metrics()
    ipv6 = metrics.family("IPv6")
    ipv6.sync_last_timestamp.set(1767323045.25)
    ipv6.no_local_endpoints["external"].set(3)
    ipv6.iptables_rules["nat"].set(140005)
    ipv6.sync_failures.inc()
    metrics.endpoint_changes.inc(4)
    metrics.source_errors.set(2)
    assert value(metrics, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", ip_family="IPv6") == 1767323045.25
    gauge = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    assert value(metrics, gauge, ip_family="IPv6", traffic_policy="external") == 3
    assert value(metrics, gauge, ip_family="IPv6", traffic_policy="internal") == 0
    assert value(metrics, "kubeproxy_sync_proxy_rules_iptables_total", ip_family="IPv6", table="nat") == 140005
    assert value(metrics, "kproxy_sync_failures_total", ip_family="IPv6") == 1
    assert value(metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_total") == 4
    assert value(metrics, "kproxy_source_errors") == 2


def test_build_info_has_the_version() -> None:
    (sample,) = parsed(Metrics())["kproxy_build_info"].samples
    assert (sample.value, sample.labels["version"]) == (1, kproxy.__version__)


def test_kernel_counters_are_read_at_every_scrape() -> None:
    metrics, packets = Metrics(), iter([5, 9, None])
    metrics.ct_state_invalid_dropped_packets.read = lambda: next(packets)
    name = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"
    assert [value(metrics, name), value(metrics, name)] == [5, 9]
    assert parsed(metrics)[name].samples == [], "the kernel has none"


def test_children_are_kept_and_families_exist_once_asked_for() -> None:
    metrics = Metrics()
    assert "IPv4" not in metrics.exposition().decode()
    assert metrics.family("IPv4") is metrics.family("IPv4")
    assert 'ip_family="IPv6"' not in metrics.exposition().decode()


def test_two_registries_do_not_meet() -> None:
    one, two = Metrics(), Metrics()
    one.service_changes.inc()
    assert value(two, "kubeproxy_sync_proxy_rules_service_changes_total") == 0
