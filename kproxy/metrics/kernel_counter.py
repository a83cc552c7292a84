"""A counter that lives in the kernel and is read when a scraper asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

Read = Callable[[], int | None]


class KernelCounter(Collector):
    """Shows what `read` returns; no series without one, or when it returns None (the kernel lacks the counter).

    `read` is called in the scraper's thread. It must not raise, and not wait for the agent.
    """

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        """Register a counter called `name`, which ends in _total."""
        self._name = name
        self._documentation = documentation
        self.read: Read | None = None
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Name the series without reading it."""
        yield CounterMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterable[Metric]:
        """Read it."""
        value = None if self.read is None else self.read()
        yield CounterMetricFamily(self._name, self._documentation, value=value)
