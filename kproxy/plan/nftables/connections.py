"""New connections by Service port and by endpoint, from the counters that the elements of the maps carry.

A connection's first packet is the only one that looks its frontend and its endpoint up, so packets are connections. The
kernel begins at zero when an element is written anew (another endpoint in a slot, a frontend with a longer list); what
is told here goes on from where it was. What was counted between the last look and such a change is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.nftables.packing import unpack_ip, unpack_slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Counted = tuple[bytes, int]
"""An element's value, and how many packets it counted."""


class ConnectionCounts:
    """Totals of one family since this object was made."""

    def __init__(self) -> None:
        self.services: dict[str, int] = {}
        """By service port, as comments name it ("namespace/name:port")."""
        self.endpoints: dict[tuple[str, str], int] = {}
        """By service port and endpoint ("10.180.0.1:8080")."""
        self._seen: dict[tuple[str, bytes], Counted] = {}

    def take(
        self,
        frontends: Mapping[str, Mapping[bytes, Counted]],
        endpoints: Mapping[str, tuple[str, Mapping[bytes, Counted]]],
    ) -> None:
        """Take what the kernel counts now. Service ports and endpoints that are gone are forgotten.

        `frontends`: the elements of each map of frontends, by its name. `endpoints`: those of each map of endpoints,
        with the name of the map in which its frontends are; empty where endpoints do not count.
        """
        seen: dict[tuple[str, bytes], Counted] = {}
        services: dict[str, int] = {}
        for name, elements in frontends.items():
            for key, counted in elements.items():
                port = _name_in(counted[0])
                services[port] = services.get(port, self.services.get(port, 0)) + self._new(name, key, counted)
                seen[name, key] = counted
        self.services = services
        self._take_endpoints(frontends, endpoints, seen)
        self._seen = seen

    def _take_endpoints(
        self,
        frontends: Mapping[str, Mapping[bytes, Counted]],
        endpoints: Mapping[str, tuple[str, Mapping[bytes, Counted]]],
        seen: dict[tuple[str, bytes], Counted],
    ) -> None:
        totals: dict[tuple[str, str], int] = {}
        for name, (of, elements) in endpoints.items():
            for key, counted in elements.items():
                frontend = frontends[of].get(unpack_slot(key)[0])
                if frontend is None:
                    continue  # it went between the two looks
                at = _name_in(frontend[0]), _endpoint(counted[0])
                totals[at] = totals.get(at, self.endpoints.get(at, 0)) + self._new(name, key, counted)
                seen[name, key] = counted
        self.endpoints = totals

    def _new(self, name: str, key: bytes, counted: Counted) -> int:
        value, packets = counted
        before, counted_before = self._seen.get((name, key), (b"", 0))
        goes_on = before == value and packets >= counted_before
        return packets - counted_before if goes_on else packets


def split_name(port: str) -> tuple[str, str, str]:
    """Return namespace, Service and port name ("" where it has none)."""
    namespace, _, rest = port.partition("/")
    service, _, name = rest.partition(":")
    return namespace, service, name


def _name_in(value: bytes) -> str:
    return value.partition(b"\0")[2].decode(errors="replace")


def _endpoint(value: bytes) -> str:
    """Return an endpoint as Prometheus users write instances: 10.180.0.1:8080, [fd00::1]:8080."""
    address, port = unpack_ip(value[:-4]), int.from_bytes(value[-4:-2])
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def totals_of(counts: Iterable[ConnectionCounts]) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Return the sums over families: (by service port, by service port and endpoint)."""
    services: dict[str, int] = {}
    endpoints: dict[tuple[str, str], int] = {}
    for one in counts:
        for port, total in one.services.items():
            services[port] = services.get(port, 0) + total
        for at, total in one.endpoints.items():
            endpoints[at] = endpoints.get(at, 0) + total
    return services, endpoints
