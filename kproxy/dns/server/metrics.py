"""The metrics of DNS: CoreDNS's names, labels and buckets where they mean the same, and kproxy's own.

The workers count, and tell the service once a second; here it is added up. `zone` is always "." and `view` "", as with
a server block of `.:53` that holds everything.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import kproxy
from kproxy.dns.tally import DURATION_BUCKETS
from kproxy.metrics.exposition import exposition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kproxy.dns.feed import Counted, Counts, Sample

SIZE_BUCKETS: Final = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000)
PROGRAMMING_BUCKETS: Final = tuple(0.001 * 2**n for n in range(20))

TYPES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    43: "DS",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    50: "NSEC3",
    64: "SVCB",
    65: "HTTPS",
    251: "IXFR",
    252: "AXFR",
    255: "ANY",
}
"""The types that have a label of their own; all others are "other", so that clients can't make series."""
RCODES: Final = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")

_SERVER: Final = ("server", "zone", "view")
_PROTOCOL: Final = (*_SERVER, "proto")
_ZONE: Final = (".", "")


class DnsMetrics:
    """All metrics, in a registry of their own. Any thread may change and read them.

    `node_local`: there are addresses that kproxy has made, and so a metric that says who answers there.
    """

    def __init__(self, *, node_local: bool = False, version: str = kproxy.__version__) -> None:
        self.registry = CollectorRegistry()
        self.programming = Histogram(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "From a change of endpoints in the cluster to the answers, in seconds",
            ("service_kind",),
            buckets=PROGRAMMING_BUCKETS,
            registry=self.registry,
        )
        self.change = Histogram(
            "kproxy_dns_change_duration_seconds",
            "From the arrival of a change to the answers, in seconds",
            buckets=PROGRAMMING_BUCKETS,
            registry=self.registry,
        )
        self.data_age = self._gauge(
            "kproxy_dns_data_age_seconds", "For how long nothing new can be known of the cluster; 0 while all is well"
        )
        self.refused = self._gauge("kproxy_dns_source_errors", "Objects and documents refused at present")
        self.leading = Gauge(
            "kproxy_dns_node_local_serving",
            "1 while queries for the addresses made by kproxy are led to it",
            registry=self.registry if node_local else None,
        )
        self.restarts = Counter(
            "kproxy_dns_worker_restarts", "Workers that had to be started again", registry=self.registry
        )
        build = Gauge("kproxy_build_info", "The version", ("version",), registry=self.registry)
        build.labels(version).set(1)
        self._counts = _Collected()
        self.registry.register(self._counts)
        ProcessCollector(registry=self.registry)

    def add(self, counts: Counts, worker: int) -> None:
        """Add what a worker counted since it last said so."""
        self._counts.add(counts, worker)

    def worker_gone(self, worker: int) -> None:
        """Note that a worker ended: what it counted stays, what it held does not."""
        self._counts.gone(worker)

    def exposition(self) -> bytes:
        """Render everything in the Prometheus text format 0.0.4."""
        return exposition(self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)


class _Sum:
    """A histogram that is added up from counts per bucket."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        texts = [*(_bound(bound) for bound in self.bounds), "+Inf"]
        reached, pairs = 0, []
        for text, count in zip(texts, self.counts, strict=True):
            reached += count
            pairs.append((text, float(reached)))
        return pairs


class _Collected(Collector):
    """Sums by name and label values."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _COUNTERS}
        self._histograms: dict[str, dict[tuple[str, ...], _Sum]] = {name: {} for name in _HISTOGRAMS}
        self._totals: dict[int, dict[str, float]] = {}
        self._ended: dict[str, float] = {}
        self._levels: dict[int, dict[str, float]] = {}

    def add(self, counts: Counts, worker: int) -> None:
        with self._lock:
            for reply in counts.replies:
                self._reply(reply)
            for sample in counts.samples:
                self._sample(sample)
            self._totals[worker] = counts.totals
            self._levels[worker] = counts.levels

    def gone(self, worker: int) -> None:
        with self._lock:
            self._levels.pop(worker, None)
            for name, value in self._totals.pop(worker, {}).items():
                self._ended[name] = self._ended.get(name, 0) + value

    def _reply(self, one: Counted) -> None:
        server = (one.server, *_ZONE)
        protocol = (*server, one.protocol)
        rcode = RCODES[one.rcode] if one.rcode < len(RCODES) else str(one.rcode)
        self._count("requests", (*protocol, str(one.family), TYPES.get(one.qtype, "other")), one.times)
        self._count("responses", (*server, rcode, one.source), one.times)
        if one.dnssec_ok:
            self._count("do_requests", server, one.times)
        self._observe("request_size", protocol, one.query_size, one.times)
        self._observe("response_size", protocol, one.reply_size, one.times)

    def _sample(self, sample: Sample) -> None:
        if sample.name == "request":
            labels = (*sample.labels, *_ZONE)
        else:
            to, rcode = sample.labels
            labels = ("forward", to, RCODES[int(rcode)] if int(rcode) < len(RCODES) else rcode)
        into = self._histogram(sample.name, labels)
        into.total += sample.total
        into.counts = [a + b for a, b in zip(into.counts, sample.buckets, strict=True)]

    def _count(self, name: str, labels: tuple[str, ...], times: int) -> None:
        counter = self._counters[name]
        counter[labels] = counter.get(labels, 0) + times

    def _observe(self, name: str, labels: tuple[str, ...], value: float, times: int) -> None:
        into = self._histogram(name, labels)
        into.total += value * times
        index = next((at for at, bound in enumerate(into.bounds) if value <= bound), len(into.bounds))
        into.counts[index] += times

    def _histogram(self, name: str, labels: tuple[str, ...]) -> _Sum:
        return self._histograms[name].setdefault(labels, _Sum(_HISTOGRAMS[name][3]))

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            return list(self._families())

    def _families(self) -> Iterator[Metric]:
        for name, (metric, documentation, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(metric, documentation, labels=labels)
            for values, total in self._counters[name].items():
                counter.add_metric(values, total)
            yield counter
        for name, (metric, documentation, labels, _) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(metric, documentation, labels=labels)
            for values, summed in self._histograms[name].items():
                histogram.add_metric(values, summed.buckets(), summed.total)
            yield histogram
        for name, (metric, documentation, more) in _TOTALS.items():
            total = self._ended.get(name, 0) + sum(totals.get(name, 0) for totals in self._totals.values())
            counter = CounterMetricFamily(metric, documentation, labels=tuple(more))
            counter.add_metric(tuple(more.values()), total)
            yield counter
        for name, (metric, documentation) in _LEVELS.items():
            yield GaugeMetricFamily(metric, documentation, sum(one.get(name, 0) for one in self._levels.values()))


_COUNTERS: Final = {
    "requests": ("coredns_dns_requests", "Queries answered", (*_PROTOCOL, "family", "type")),
    "responses": ("coredns_dns_responses", "Replies by code and by what they are from", (*_SERVER, "rcode", "plugin")),
    "do_requests": ("coredns_dns_do_requests", "Queries with the DO bit", _SERVER),
}
_HISTOGRAMS: Final[dict[str, tuple[str, str, tuple[str, ...], Sequence[float]]]] = {
    "request": ("coredns_dns_request_duration_seconds", "From query to reply, in seconds", _SERVER, DURATION_BUCKETS),
    "request_size": ("coredns_dns_request_size_bytes", "Size of queries", _PROTOCOL, SIZE_BUCKETS),
    "response_size": ("coredns_dns_response_size_bytes", "Size of replies", _PROTOCOL, SIZE_BUCKETS),
    "forward": (
        "coredns_proxy_request_duration_seconds",
        "How long servers outside took, in seconds",
        ("proxy_name", "to", "rcode"),
        DURATION_BUCKETS,
    ),
}
_TOTALS: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "cache_hits_success": ("coredns_cache_hits", "Answers from the cache", {"type": "success"}),
    "cache_hits_denial": ("kproxy_dns_cache_denials", "Negative answers from the cache", {}),
    "cache_misses": ("coredns_cache_misses", "Questions that were not in the cache", {}),
    "cache_evictions": ("coredns_cache_evictions", "Answers that had to make room", {}),
    "cache_served_stale": ("coredns_cache_served_stale", "Answers that had run out, for want of better ones", {}),
    "cache_prefetch": ("coredns_cache_prefetch", "Answers that were fetched anew before they ran out", {}),
    "forward_rejects": ("coredns_forward_max_concurrent_rejects", "Queries turned away: too many under way", {}),
    "lost_replies": ("kproxy_dns_lost_replies", "Replies that the kernel did not take", {}),
}
_LEVELS: Final = {
    "cache_entries": ("coredns_cache_entries", "Answers in the cache"),
    "tcp_connections": ("kproxy_dns_tcp_connections", "TCP connections open"),
}


def _bound(value: float) -> str:
    return str(float(value))
