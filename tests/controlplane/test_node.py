"""The own Node at a real API server: waited for, followed, and not forgotten when it is deleted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane.objects import serve
from tests.lab import FAMILIES
from tests.lab.agent import Agent, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.controlplane import ControlPlane
    from tests.controlplane.https import Api
    from tests.lab import Cluster

pytestmark = pytest.mark.root

NODE = "node-c"
PATH = f"/api/v1/nodes/{NODE}"


@pytest.fixture
def admin(control: ControlPlane) -> Iterator[Api]:
    with control.api() as api:
        yield api
        api.request("DELETE", PATH)


def node_object(cluster: Cluster, pod_cidr: str = "") -> dict[str, Any]:
    node = cluster.node_object()
    node["metadata"]["name"] = NODE
    node["spec"] = {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]} if pod_cidr else {}
    return node


def test_pod_cidrs_are_waited_for_followed_and_kept(control: ControlPlane, cluster: Cluster, admin: Api) -> None:
    serve(admin, "web", "own-node")
    config = control.kubeconfig("node-cidr", token=control.service_account_token())
    flags = ("--kubeconfig", str(config), "--hostname-override", NODE, "--detect-local-mode", "NodeCIDR")
    argv = [sys.executable, "-m", "kproxy", "run", *flags, "--iptables-variant", "nft", *LEAVE_CONNTRACK]

    def local_traffic(cidr: str) -> bool:
        return f"! -s {cidr} " in cluster.node.run("iptables-nft-save", "-t", "nat")

    with Agent(cluster.node, argv, FAMILIES) as agent:

        def says(text: str) -> None:
            eventually(lambda: text in agent.log.read_text(), text)

        says(f"waiting up to 300 s for Node {NODE}")
        admin.post("/api/v1/nodes", node_object(cluster)).checked()
        assert agent.health().status == 503
        admin.request("PATCH", PATH, {"spec": {"podCIDR": "10.244.8.0/24", "podCIDRs": ["10.244.8.0/24"]}}).checked()
        agent.wait_ready()
        says(f"Node {NODE} is there")
        eventually(lambda: local_traffic("10.244.8.0/24"), "the rules know the podCIDR")

        admin.request("DELETE", PATH).checked()
        says(f"Node {NODE} was deleted: going on with what it said last")
        leaving = {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}
        admin.post("/api/v1/nodes", node_object(cluster)).checked()
        admin.request("PATCH", PATH, {"spec": leaving}).checked()
        eventually(lambda: agent.health().status == 503, "it knows the Node that was made again, without podCIDRs")
        assert agent.health("/livez").status == 200
        assert local_traffic("10.244.8.0/24")

        admin.request("PATCH", PATH, {"spec": {"podCIDR": "10.244.9.0/24", "podCIDRs": ["10.244.9.0/24"]}}).checked()
        eventually(lambda: local_traffic("10.244.9.0/24"), "the rules know the new podCIDR")
        assert not local_traffic("10.244.8.0/24")
        assert agent.running
