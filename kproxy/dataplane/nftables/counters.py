"""Reads the counters of frontends and endpoints, for the metrics."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from kproxy.dataplane.nftables.reader import read_counted
from kproxy.errors import KernelError
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.connections import ConnectionCounts, split_name, totals_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kproxy.metrics.connections import Labels
    from kproxy.plan.nftables.connections import Counted
    from kproxy.state.addresses import Family

log = logging.getLogger(__name__)

_FRONTENDS = (layout.SERVICES, layout.NODE_PORTS)
_ENDPOINTS = ((layout.ENDPOINTS, layout.SERVICES), (layout.NODE_PORT_ENDPOINTS, layout.NODE_PORTS))


class ConnectionCounters:
    """Counts of all families; any thread may read them."""

    def __init__(self, families: Collection[Family], *, endpoints: bool) -> None:
        """`endpoints`: they count, too."""
        self._counts = {family: ConnectionCounts() for family in families}
        self._with_endpoints = endpoints
        self._lock = threading.Lock()
        options = layout.LayoutOptions(count_services=True, count_endpoints=endpoints)
        self._specs = {family: {spec.name: spec for spec in layout.nat_sets(family, options)} for family in families}

    def read(self) -> tuple[Mapping[Labels, int], Mapping[Labels, int]]:
        """Return new connections by (namespace, Service, port name), and by those and the endpoint.

        When the kernel can't be read, what was told last.
        """
        with self._lock:
            try:
                with NetlinkSocket() as netlink:
                    for family in self._counts:
                        self._look(netlink, family)
            except KernelError as error:
                log.warning("the counters of connections can't be read: %s", error)
            services, endpoints = totals_of(self._counts.values())
        return (
            {split_name(port): total for port, total in services.items()},
            {(*split_name(port), endpoint): total for (port, endpoint), total in endpoints.items()},
        )

    def _look(self, netlink: NetlinkSocket, family: Family) -> None:
        def elements(name: str) -> Mapping[bytes, Counted]:
            return read_counted(netlink, family, layout.TABLE, self._specs[family][name])

        endpoints = {name: (of, elements(name)) for name, of in _ENDPOINTS} if self._with_endpoints else {}
        self._counts[family].take({name: elements(name) for name in _FRONTENDS}, endpoints)
