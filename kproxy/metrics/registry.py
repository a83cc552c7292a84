"""The metrics of the agent: what kube-proxy exports in the same mode, under its names, and kproxy's own (`kproxy_`).

Names, labels, types and buckets are those of kube-proxy 1.37 (its package proxy/metrics), some of which are gauges
whose names end in _total.
"""

from __future__ import annotations

import platform
import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

import kproxy
from kproxy.metrics.connections import ConnectionCounter
from kproxy.metrics.exposition import exposition
from kproxy.metrics.family import FamilyMetrics, SyncKind, Table, TrafficPolicy
from kproxy.metrics.kernel_counter import KernelCounter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kproxy.kube.client import Exchange
    from kproxy.metrics.programming import Trigger

SYNC_BUCKETS = tuple(0.001 * 2**n for n in range(15))
NETWORK_PROGRAMMING_BUCKETS = (0, 0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))

API_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
"""client-go's."""

FAMILY = ("ip_family",)
KINDS: tuple[SyncKind, ...] = ("full", "partial")
POLICIES: tuple[TrafficPolicy, ...] = ("internal", "external")
TABLES: tuple[Table, ...] = ("nat", "filter")


class Metrics:
    """All metrics, in a registry of their own. Any thread may change and read them.

    Metrics without labels are attributes; those of an IP family come from `family`.
    """

    def __init__(self, *, mode: str = "iptables", version: str = kproxy.__version__) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._mode = mode
        self._families: dict[str, FamilyMetrics] = {}
        self._lock = threading.Lock()
        self._add_family_metrics()
        self._add_change_metrics()
        self._add_server_metrics()
        self._add_api_metrics()
        self._add_kernel_counters()
        self._add_own_metrics(version)
        ProcessCollector(registry=self.registry)

    def family(self, ip_family: str) -> FamilyMetrics:
        """Return the metrics of "IPv4" or "IPv6"; its series exist from the first call on."""
        with self._lock:
            if ip_family not in self._families:
                self._families[ip_family] = self._new_family(ip_family)
            return self._families[ip_family]

    def observe_programming(self, triggers: Iterable[Trigger], now: float) -> None:
        """Record that the kernel has these changes `now` (seconds since 1970); families not in use are passed over."""
        for trigger in triggers:
            if trigger.family in self._families:
                self._families[trigger.family].network_programming_duration.observe(now - trigger.happened)

    def observe_api_request(self, exchange: Exchange) -> None:
        """Record a request to the API server, as client-go does: a stream counts, but has no duration."""
        code = str(exchange.status) if exchange.status else "<error>"
        self._api_requests.labels(code, exchange.host, exchange.method).inc()
        if exchange.seconds is not None:
            self._api_request_duration.labels(exchange.host, exchange.method).observe(exchange.seconds)

    def exposition(self) -> bytes:
        """Render everything in the Prometheus text format 0.0.4."""
        return exposition(self.registry)

    def slis(self) -> bytes:
        """Render what /metrics/slis has at kube-proxy: since when the process runs."""
        return exposition(self.registry.restricted_registry(["process_start_time_seconds"]))

    def _add_change_metrics(self) -> None:
        self.endpoint_changes_pending = self._gauge(
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending", "Pending proxy rules Endpoint changes"
        )
        self.endpoint_changes = self._counter(
            "kubeproxy_sync_proxy_rules_endpoint_changes_total", "Cumulative proxy rules Endpoint changes"
        )
        self.service_changes_pending = self._gauge(
            "kubeproxy_sync_proxy_rules_service_changes_pending", "Pending proxy rules Service changes"
        )
        self.service_changes = self._counter(
            "kubeproxy_sync_proxy_rules_service_changes_total", "Cumulative proxy rules Service changes"
        )

    def _add_server_metrics(self) -> None:
        """Answers of /healthz and /livez, by status code: 200 and 503."""
        healthz = self._counter("kubeproxy_proxy_healthz_total", "Answers of /healthz", ("code",))
        livez = self._counter("kubeproxy_proxy_livez_total", "Answers of /livez", ("code",))
        self.healthz_responses: Mapping[int, Counter] = {code: healthz.labels(code) for code in (200, 503)}
        self.livez_responses: Mapping[int, Counter] = {code: livez.labels(code) for code in (200, 503)}

    def _add_api_metrics(self) -> None:
        self._api_requests = self._counter(
            "rest_client_requests_total", "Requests to the API server", ("code", "host", "method")
        )
        self._api_request_duration = Histogram(
            "rest_client_request_duration_seconds",
            "Duration of requests to the API server that are not streams",
            ("host", "verb"),
            registry=self.registry,
            buckets=API_BUCKETS,
        )

    def _add_kernel_counters(self) -> None:
        self.connections = ConnectionCounter(self.registry)
        self.ct_state_invalid_dropped_packets = KernelCounter(
            "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
            "Packets dropped because conntrack holds them for invalid",
            self.registry,
        )
        self.localhost_nodeports_accepted_packets = KernelCounter(
            "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
            "Packets accepted on node ports of the loopback interface",
            self.registry,
        )

    def _add_own_metrics(self, version: str) -> None:
        self._sync_failures = self._counter("kproxy_sync_failures_total", "Syncs that failed", FAMILY)
        self._foreign_changes = self._counter(
            "kproxy_foreign_changes_total", "What other programs did to our rules (nftables mode), put right", FAMILY
        )
        self.source_errors = self._gauge("kproxy_source_errors", "Objects and documents that are refused at present")
        build = self._gauge("kproxy_build_info", "Always 1", ("version", "python_version"))
        build.labels(version, platform.python_version()).set(1)

    def _add_family_metrics(self) -> None:
        sync = "kubeproxy_sync_proxy_rules"
        self._sync_duration = self._histogram(f"{sync}_duration_seconds", "Duration of a sync", SYNC_BUCKETS)
        self._sync_duration_by_kind: dict[SyncKind, Histogram] = {
            kind: self._histogram(
                f"kubeproxy_sync_{kind}_proxy_rules_duration_seconds", f"Duration of a {kind} sync", SYNC_BUCKETS
            )
            for kind in KINDS
        }
        self._sync_last = self._gauge(f"{sync}_last_timestamp_seconds", "When a sync last succeeded", FAMILY)
        self._sync_queued = self._gauge(
            f"{sync}_last_queued_timestamp_seconds", "When a sync was last asked for", FAMILY
        )
        self._network_programming = self._histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From a change of a Pod or Service to its being programmed",
            NETWORK_PROGRAMMING_BUCKETS,
        )
        self._no_local_endpoints = self._gauge(
            f"{sync}_no_local_endpoints_total",
            "Service ports without local endpoints under a Local traffic policy",
            (*FAMILY, "traffic_policy"),
        )
        self._add_iptables_metrics(sync)
        self._add_nftables_metrics(sync)
        self._conntrack_duration = self._histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds", "Duration of a conntrack clean-up", SYNC_BUCKETS
        )
        self._conntrack_deleted = self._counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total", "Conntrack entries deleted", FAMILY
        )

    def _add_iptables_metrics(self, sync: str) -> None:
        modes, tables = ("iptables",), (*FAMILY, "table")
        self._rules = self._gauge(f"{sync}_iptables_total", "iptables rules owned", tables, modes)
        self._rules_last = self._gauge(
            f"{sync}_iptables_last", "iptables rules written by the last sync", tables, modes
        )
        self._restore_failures = self._counter(
            f"{sync}_iptables_restore_failures_total",
            "iptables-restore runs that failed; in IPVS mode, writes of the packet filter",
            FAMILY,
            (*modes, "ipvs"),
        )
        self._partial_restore_failures = self._counter(
            f"{sync}_iptables_partial_restore_failures_total",
            "Partial syncs whose iptables-restore failed",
            FAMILY,
            modes,
        )

    def _add_nftables_metrics(self, sync: str) -> None:
        modes = ("nftables",)
        self._nftables_failures = self._counter(
            f"{sync}_nftables_sync_failures_total", "nftables transactions that failed", FAMILY, modes
        )
        self._nftables_cleanup_failures = self._counter(
            f"{sync}_nftables_cleanup_failures_total",
            "Deletions of nftables chains out of use that failed",
            FAMILY,
            modes,
        )
        localhost = "kubeproxy_nftables_localhost_nodeport"
        self._localhost_listeners = self._gauge(
            f"{localhost}_listeners", "Node ports that are relayed on localhost", FAMILY, modes
        )
        self._localhost_failures = self._counter(
            f"{localhost}_listener_creation_failures_total",
            "Node ports on localhost that could not be listened on",
            FAMILY,
            modes,
        )

    def _shown_in(self, modes: Sequence[str]) -> CollectorRegistry | None:
        """Return the registry for metrics of some modes (all, if none): in another they are counted, and not shown."""
        return self.registry if not modes or self._mode in modes else None

    def _new_family(self, family: str) -> FamilyMetrics:
        return FamilyMetrics(
            sync_duration=self._sync_duration.labels(family),
            sync_duration_by_kind={kind: metric.labels(family) for kind, metric in self._sync_duration_by_kind.items()},
            sync_last_timestamp=self._sync_last.labels(family),
            sync_last_queued_timestamp=self._sync_queued.labels(family),
            sync_failures=self._sync_failures.labels(family),
            network_programming_duration=self._network_programming.labels(family),
            no_local_endpoints={policy: self._no_local_endpoints.labels(family, policy) for policy in POLICIES},
            iptables_rules={table: self._rules.labels(family, table) for table in TABLES},
            iptables_rules_last_sync={table: self._rules_last.labels(family, table) for table in TABLES},
            iptables_restore_failures=self._restore_failures.labels(family),
            iptables_partial_restore_failures=self._partial_restore_failures.labels(family),
            nftables_sync_failures=self._nftables_failures.labels(family),
            nftables_cleanup_failures=self._nftables_cleanup_failures.labels(family),
            localhost_listeners=self._localhost_listeners.labels(family),
            localhost_listener_failures=self._localhost_failures.labels(family),
            foreign_changes=self._foreign_changes.labels(family),
            conntrack_sync_duration=self._conntrack_duration.labels(family),
            conntrack_deleted_entries=self._conntrack_deleted.labels(family),
        )

    def _counter(self, name: str, documentation: str, labels: Sequence[str] = (), modes: Sequence[str] = ()) -> Counter:
        return Counter(name, documentation, labels, registry=self._shown_in(modes))

    def _gauge(self, name: str, documentation: str, labels: Sequence[str] = (), modes: Sequence[str] = ()) -> Gauge:
        return Gauge(name, documentation, labels, registry=self._shown_in(modes))

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, documentation, FAMILY, registry=self.registry, buckets=buckets)
