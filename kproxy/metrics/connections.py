"""Connections by Service port and endpoint, read from the kernel when a scraper asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

Labels = tuple[str, ...]
Read = Callable[[], tuple[Mapping[Labels, int], Mapping[Labels, int]]]

_SERVICE = ("namespace", "service", "port_name")
_ENDPOINT = (*_SERVICE, "endpoint")


class ConnectionCounter(Collector):
    """Shows what `read` returns: connections by `_SERVICE` labels, and by `_ENDPOINT` labels. No series without it.

    `read` is called in the scraper's thread. It must not raise, and not wait for the agent.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.read: Read | None = None
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Name the series without reading them."""
        yield from _families()

    def collect(self) -> Iterable[Metric]:
        """Read them."""
        if self.read is None:
            return
        for family, totals in zip(_families(), self.read(), strict=True):
            for labels, total in totals.items():
                family.add_metric(labels, total)
            yield family


def _families() -> tuple[CounterMetricFamily, CounterMetricFamily]:
    services = "New connections by Service port, since the agent started"
    endpoints = "New connections by Service port and endpoint, since the agent started"
    return (
        CounterMetricFamily("kproxy_service_connections", services, labels=_SERVICE),
        CounterMetricFamily("kproxy_endpoint_connections", endpoints, labels=_ENDPOINT),
    )
