"""Thousands of Services with their EndpointSlices, by plain HTTPS from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.controlplane.control_plane import ControlPlane
    from tests.controlplane.https import Api, Reply

NAMESPACE = "bulk"
FIRST_CLUSTER_IP, FIRST_ENDPOINT = IPv4Address("10.96.8.0"), IPv4Address("10.128.0.0")
NODES = ("node-a", "node-b")
ALREADY_EXISTS = 409


def create_services(control: ControlPlane, count: int, endpoints: int, *, threads: int = 16, first: int = 0) -> None:
    """Create Services number `first` to `first + count - 1` with one IPv4 slice each, in the namespace "bulk".

    Number n has the clusterIP 10.96.8.0 + n (n below 63,000), port 80, and `endpoints` endpoints of its own from
    10.128.0.0 up, on node-a and node-b in turn. RuntimeError with the server's words when one is refused.
    """
    with control.api() as api:
        made = api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        if made.status != ALREADY_EXISTS:
            made.checked()

    def work(lane: int) -> None:
        with control.api() as api:
            for number in range(first + lane, first + count, threads):
                _created(api.post(f"/api/v1/namespaces/{NAMESPACE}/services", service(number)))
                _created(api.post(slices_path(), endpoint_slice(number, endpoints)))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def replace_endpoints(api: Api, number: int, endpoints: int, *, ready: bool = True) -> None:
    """One change: the slice of Service `number` gets `endpoints` endpoints."""
    made = endpoint_slice(number, endpoints, ready=ready)
    api.request("PUT", f"{slices_path()}/{made['metadata']['name']}", made).checked()


def slices_path() -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"


def service(number: int) -> dict[str, Any]:
    ports = [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": 8080}]
    address = str(FIRST_CLUSTER_IP + number)
    return {"metadata": {"name": f"svc-{number}"}, "spec": {"clusterIP": address, "ports": ports}}


def endpoint_slice(number: int, endpoints: int, *, ready: bool = True) -> dict[str, Any]:
    name = f"svc-{number}"
    first = FIRST_ENDPOINT + number * endpoints
    return {
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {"addresses": [str(first + i)], "nodeName": NODES[i % 2], "conditions": {"ready": ready}}
            for i in range(endpoints)
        ],
    }


def _created(reply: Reply) -> None:
    """A second run over the same server finds what the first one made."""
    if reply.status != ALREADY_EXISTS:
        reply.checked()
