"""The own Node at a real API server: waited for, followed, and not forgotten when it is deleted."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.events.event import Report, collection, encode, health_check_failed
from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane import create_services
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
    create_services(control, 1, 1)
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


def test_the_server_takes_an_event_and_its_repetition(control: ControlPlane) -> None:
    """The longest names and notes, too."""
    event = health_check_failed("default", "w" * 63, "n" * 253, "why " * 1000)
    now = time.time()
    with control.api(control.service_account_token()) as api:
        for report in (Report(event, 1, now, now), Report(event, 12, now, now + 1800)):
            assert api.request("POST", collection(event), json.loads(encode(report, "n" * 253))).status == 201
