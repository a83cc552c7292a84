"""What a Service with a health check node port tells its load balancer about this node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One Service's wish for a health check port, as one IP family sees it.

    `local_endpoints` is the number of distinct addresses of *ready* endpoints on this node over all ports of the
    Service; terminating ones do not count.
    """

    namespace: str
    name: str
    port: int
    local_endpoints: int
