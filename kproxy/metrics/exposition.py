"""The text a scraper gets: prometheus-client's, spelt the way kube-proxy's Go client spells it.

Two differences would show in a cluster where both run: prometheus-client adds a `_created` series to every counter and
histogram, and writes whole bucket bounds as "1.0", which makes another series than Go's "1" (Prometheus before 3 does
not know them to be one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Collects(Protocol):
    """A registry, or a part of one."""

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""


def exposition(registry: Collects) -> bytes:
    """Render a registry in the Prometheus text format 0.0.4."""
    return generate_latest(_GoSpelling(registry))


class _GoSpelling(Collector):
    def __init__(self, registry: Collects) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        return map(_respelt, self._registry.collect())


def _respelt(family: Metric) -> Metric:
    respelt = Metric(family.name, family.documentation, family.type)
    created = f"{family.name}_created"
    for sample in family.samples:
        if sample.name == created and family.type in ("counter", "histogram"):
            continue
        if "le" in sample.labels:
            sample = sample._replace(labels={**sample.labels, "le": sample.labels["le"].removesuffix(".0")})
        respelt.samples.append(sample)
    return respelt
