"""kproxy on a real API server: real objects in, packets out; faults in between, and nothing stale after them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from kubernetes import client

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane.objects import create_namespace, create_running_pod, create_service, set_pod_status
from tests.lab import FAMILIES, Outcome, Probe
from tests.lab.agent import Agent, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster

pytestmark = pytest.mark.root

NAMESPACE = "agent"
PODS = ("a1", "b1")


@pytest.fixture(scope="module")
def service(control: ControlPlane, cluster: Cluster) -> Iterator[client.V1Service]:
    """A Service of two Pods, one on each node; its slices are made by the real controller."""
    with control.api() as api:
        for name in ("node-a", "node-b"):
            node = cluster.node_object()
            node["metadata"]["name"] = name
            api.post("/api/v1/nodes", node)
    control.start_controllers()
    with control.typed() as api:
        create_namespace(api, NAMESPACE)
        for pod in PODS:
            node_name = cluster.hosts[pod].node
            addresses = [cluster.address(pod, family) for family in FAMILIES]
            create_running_pod(api, pod, NAMESPACE, {"app": "web"}, node=node_name, addresses=addresses)
        yield create_service(api, "web", NAMESPACE, {"app": "web"})


@pytest.fixture(scope="module")
def agent(control: ControlPlane, cluster: Cluster, service: client.V1Service) -> Iterator[Agent]:
    """It logs in as its service account may, no more: deploy/rbac.yaml."""
    assert service.spec
    kubeconfig = control.kubeconfig("kproxy", token=control.service_account_token())
    program = ("--kubeconfig", str(kubeconfig), "--hostname-override", "node-a", *LEAVE_CONNTRACK)
    cidrs = ("--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48")
    with Agent(cluster.node, [sys.executable, "-m", "kproxy", "run", *program, *cidrs], FAMILIES) as agent:
        agent.wait_ready()
        yield agent


def answers(cluster: Cluster, service: client.V1Service) -> list[set[str]]:
    """Who answers at the Service's addresses, per family; a refusal is nobody."""
    assert service.spec
    probes = [Probe("a2", ip, 80, "tcp", count=24, timeout_s=1.0) for ip in service.spec.cluster_ips or []]
    return [
        {answer.who for answer in report.answers if answer.outcome is Outcome.ANSWERED}
        for report in cluster.probe_all(probes)
    ]


def test_packets_follow_the_pods(
    control: ControlPlane, cluster: Cluster, service: client.V1Service, agent: Agent
) -> None:
    eventually(lambda: answers(cluster, service) == [set(PODS)] * 2, "both Pods answer in both families")
    addresses = [cluster.address("a1", family) for family in FAMILIES]
    with control.typed() as api:
        set_pod_status(api, "a1", NAMESPACE, addresses=addresses, ready=False)
        eventually(lambda: answers(cluster, service) == [{"b1"}] * 2, "the Pod that is not ready gets nothing")
        set_pod_status(api, "a1", NAMESPACE, addresses=addresses)
        eventually(lambda: answers(cluster, service) == [set(PODS)] * 2, "both answer again")
    assert agent.running


def test_a_change_during_an_outage_is_not_missed(
    control: ControlPlane, cluster: Cluster, service: client.V1Service, agent: Agent
) -> None:
    """History is compacted away while the agent hears nothing, so that it has to list again, and to compare."""
    with control.typed() as api:
        gone = create_service(api, "gone", NAMESPACE, {"app": "web"})
        eventually(lambda: answers(cluster, gone) == [set(PODS)] * 2, "the second Service is served")
        control.stop_api_server(kill=True)
        assert answers(cluster, service) == [set(PODS)] * 2, "the rules stay while the server is away"
        control.start_api_server()
        client.CoreV1Api(api).delete_namespaced_service("gone", NAMESPACE)
    control.compact()
    control.restart_api_server(kill=True)

    def nothing_is_left() -> bool:
        """In the lab somebody outside answers for every address that no rule takes."""
        return all(not who & set(PODS) for who in answers(cluster, gone))

    eventually(nothing_is_left, "nothing of the deleted Service is left", timeout_s=20)
    assert answers(cluster, service) == [set(PODS)] * 2
    assert agent.running
    assert "Traceback" not in agent.log.read_text(encoding="utf-8")
