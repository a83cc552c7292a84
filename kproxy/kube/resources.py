"""What is asked of the API server: which objects, and with which selectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection of objects. `selectors` are the query parameters that every request for it carries.

    `since` is the first Kubernetes version that serves it. One that is `optional` may be missing: without it there are
    no such objects, and nobody waits for it.
    """

    kind: str
    plural: str
    path: str
    selectors: Query = ()
    since: str = "1.0"
    optional: bool = False


_PROXIES: Final = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
"""kube-proxy's label selector: no objects of headless Services, and none that another proxy serves."""

SERVICES: Final = Resource(
    "Service",
    "services",
    "/api/v1/services",
    (("labelSelector", _PROXIES), ("fieldSelector", "spec.clusterIP!=None")),
)
ENDPOINT_SLICES: Final = Resource(
    "EndpointSlice",
    "endpointslices",
    "/apis/discovery.k8s.io/v1/endpointslices",
    (("labelSelector", _PROXIES),),
    since="1.21",
)
SERVICE_CIDRS: Final = Resource(
    "ServiceCIDR", "servicecidrs", "/apis/networking.k8s.io/v1/servicecidrs", since="1.33", optional=True
)

ALL_SERVICES: Final = Resource("Service", "services", "/api/v1/services")
ALL_ENDPOINT_SLICES: Final = Resource(
    "EndpointSlice", "endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", since="1.21"
)
PODS: Final = Resource(
    "Pod", "pods", "/api/v1/pods", (("fieldSelector", "status.phase!=Succeeded,status.phase!=Failed"),)
)
NAMESPACES: Final = Resource("Namespace", "namespaces", "/api/v1/namespaces", optional=True)
"""What DNS follows: headless Services, and those that another proxy serves, have names too."""


EVENTS: Final = Resource("Event", "events", "/apis/events.k8s.io/v1/events", since="1.19")
"""Not read, only created, in the namespace of what they are about."""


def own_node(name: str) -> Resource:
    """Return the resource of one Node, by its name."""
    return Resource("Node", "nodes", "/api/v1/nodes", (("fieldSelector", f"metadata.name={name}"),))
