"""Objects as the programs of a real cluster would write them, by the kubernetes package's typed API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernetes import client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.controlplane.https import Api


def create_namespace(api: client.ApiClient, name: str) -> None:
    client.CoreV1Api(api).create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))


def create_service(
    api: client.ApiClient,
    name: str,
    namespace: str,
    selector: Mapping[str, str],
    *,
    port: int = 80,
    target_port: int = 8080,
    family_policy: str = "PreferDualStack",
    annotations: Mapping[str, str] | None = None,
) -> client.V1Service:
    """A ClusterIP Service; returns what the server made of it, with its addresses."""
    ports = [client.V1ServicePort(name="web", port=port, target_port=target_port, protocol="TCP")]
    spec = client.V1ServiceSpec(selector=dict(selector), ports=ports, ip_family_policy=family_policy)
    metadata = client.V1ObjectMeta(name=name, annotations=dict(annotations or {}))
    body = client.V1Service(metadata=metadata, spec=spec)
    return client.CoreV1Api(api).create_namespaced_service(namespace, body)


def create_running_pod(
    api: client.ApiClient,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    *,
    node: str,
    addresses: Sequence[str],
) -> None:
    """A Pod that is bound to a node, with the status that its kubelet writes once it runs and is ready."""
    core = client.CoreV1Api(api)
    spec = client.V1PodSpec(node_name=node, containers=[client.V1Container(name="server", image="none")])
    metadata = client.V1ObjectMeta(name=name, labels=dict(labels))
    core.create_namespaced_pod(namespace, client.V1Pod(metadata=metadata, spec=spec))
    set_pod_status(api, name, namespace, addresses=addresses)


def set_pod_status(
    api: client.ApiClient, name: str, namespace: str, *, addresses: Sequence[str], ready: bool = True
) -> None:
    """Write a running Pod's addresses and readiness, as its kubelet does."""
    state = "True" if ready else "False"
    status = client.V1PodStatus(
        phase="Running",
        pod_ip=addresses[0],
        pod_ips=[client.V1PodIP(ip=address) for address in addresses],
        conditions=[client.V1PodCondition(type=kind, status=state) for kind in ("Ready", "ContainersReady")],
    )
    client.CoreV1Api(api).patch_namespaced_pod_status(name, namespace, {"status": status})


def serve(api: Api, name: str, namespace: str, *, endpoint: str = "10.244.1.10") -> None:
    """Make a namespace with a Service and the slice of its one endpoint, by plain requests."""
    api.post("/api/v1/namespaces", {"metadata": {"name": namespace}}).checked()
    ports = [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": name}, "spec": {"ports": ports}}
    api.post(f"/api/v1/namespaces/{namespace}/services", service).checked()
    endpoint_slice = {
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [endpoint], "conditions": {"ready": True}}],
    }
    api.post(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", endpoint_slice).checked()
