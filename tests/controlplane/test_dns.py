"""DNS on a real API server: a StatefulSet's Pods get names from the real controllers, and keep them in an outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import pytest
from kubernetes import client

from tests.controlplane.objects import create_namespace, set_pod_status
from tests.dns.server.running import DnsProcess
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster

pytestmark = pytest.mark.root

NAMESPACE = "names"
ADDRESSES = {"db-0": "10.244.1.201", "db-1": "10.244.1.202"}
DB = f"db.{NAMESPACE}.svc.cluster.local"


@pytest.fixture(scope="module")
def database(control: ControlPlane) -> None:
    """A headless Service and the Pods of its StatefulSet, as the kubelet and the controller would have made them."""
    control.start_controllers()
    with control.typed() as api:
        create_namespace(api, NAMESPACE)
        core = client.CoreV1Api(api)
        core.create_node(client.V1Node(metadata=client.V1ObjectMeta(name="node-of-names")))
        ports = [client.V1ServicePort(name="pg", port=5432, protocol="TCP")]
        for name, early in (("db", False), ("db-early", True)):
            spec = client.V1ServiceSpec(
                cluster_ip="None", selector={"app": "db"}, ports=ports, publish_not_ready_addresses=early
            )
            metadata = client.V1ObjectMeta(name=name)
            core.create_namespaced_service(NAMESPACE, client.V1Service(metadata=metadata, spec=spec))
        for name, address in ADDRESSES.items():
            pod = client.V1PodSpec(
                node_name="node-of-names",
                hostname=name,
                subdomain="db",
                containers=[client.V1Container(name="server", image="none")],
            )
            metadata = client.V1ObjectMeta(name=name, labels={"app": "db"})
            core.create_namespaced_pod(NAMESPACE, client.V1Pod(metadata=metadata, spec=pod))
            set_pod_status(api, name, NAMESPACE, addresses=[address])


@pytest.fixture(scope="module")
def server(control: ControlPlane, cluster: Cluster, database: None) -> Iterator[DnsProcess]:
    """It logs in as its service account may, no more: deploy/rbac.yaml."""
    kubeconfig = control.kubeconfig("kproxy-dns", token=control.service_account_token())
    arguments = ["--kubeconfig", str(kubeconfig), "--dns-bind-address", "127.0.0.1:5301", "--dns-upstream", "192.0.2.9"]
    with DnsProcess(cluster.node, [*arguments, "--dns-metrics-bind-address", "127.0.0.1:5302"], 5302) as server:
        yield server


def ips(cluster: Cluster, name: str) -> list[str]:
    """The addresses of a name; its rcode where there are none."""
    query = dns.message.make_query(name, "A")
    try:
        reply = cluster.node.call(lambda: dns.query.udp(query, "127.0.0.1", port=5301, timeout=2))
    except dns.exception.Timeout:
        return ["no answer"]
    found = sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)
    return found or [dns.rcode.to_text(reply.rcode())]


def test_pods_of_a_stateful_set_are_found_by_name(control: ControlPlane, cluster: Cluster, server: DnsProcess) -> None:
    eventually(lambda: ips(cluster, DB) == sorted(ADDRESSES.values()), "both Pods are in the answer")
    assert ips(cluster, f"db-1.{DB}") == [ADDRESSES["db-1"]]
    assert ips(cluster, "names.svc.cluster.local") == ["NOERROR"]
    assert ips(cluster, "nobody.svc.cluster.local") == ["NXDOMAIN"]
    with control.typed() as api:
        set_pod_status(api, "db-1", NAMESPACE, addresses=[ADDRESSES["db-1"]], ready=False)
        eventually(lambda: ips(cluster, f"db-1.{DB}") == ["NXDOMAIN"], "who is not ready has no name")
        assert ips(cluster, DB) == [ADDRESSES["db-0"]]
        assert ips(cluster, f"db-early.{NAMESPACE}.svc.cluster.local") == sorted(ADDRESSES.values()), (
            "it publishes them"
        )
        set_pod_status(api, "db-1", NAMESPACE, addresses=[ADDRESSES["db-1"]])
        eventually(lambda: ips(cluster, f"db-1.{DB}") == [ADDRESSES["db-1"]], "it has one again")


def test_names_outlive_the_api_server(control: ControlPlane, cluster: Cluster, server: DnsProcess) -> None:
    """Nothing is forgotten while it is away, the age of what is known is told, and afterwards nothing is stale."""
    eventually(lambda: len(ips(cluster, DB)) == 2, "both Pods are in the answer")
    control.stop_api_server(kill=True)
    try:
        eventually(lambda: (server.metric("kproxy_dns_data_age_seconds") or 0) > 1, "the age is told")
        assert ips(cluster, DB) == sorted(ADDRESSES.values())
        assert server.get("/ready") == 200
    finally:
        control.start_api_server()
    with control.typed() as api:
        client.CoreV1Api(api).delete_namespaced_service("db", NAMESPACE)
    eventually(lambda: ips(cluster, DB) == ["NXDOMAIN"], "the Service that has gone has no name", timeout_s=30)
    eventually(lambda: server.metric("kproxy_dns_data_age_seconds") == 0, "all is well again", timeout_s=30)
