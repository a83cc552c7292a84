"""Events at a real API server: those of kube-proxy, each once however often it is tried again."""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.events.event import Report, collection, encode, health_check_failed
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

NODE, NAMESPACE = "node-a", "events"
HEALTH_CHECK_PORT = 30199


@pytest.fixture
def admin(control: ControlPlane, cluster: Cluster) -> Iterator[Api]:
    with control.api() as api:
        assert api.post("/api/v1/nodes", cluster.node_object()).status in (201, 409), "made, or there already"
        yield api


def new_agent(control: ControlPlane, cluster: Cluster, *more: str) -> Agent:
    config = control.kubeconfig("events", token=control.service_account_token())
    flags = ("--kubeconfig", str(config), "--hostname-override", NODE, "--cluster-cidr", "10.244.0.0/16")
    return Agent(cluster.node, [sys.executable, "-m", "kproxy", "run", *flags, *LEAVE_CONNTRACK, *more], FAMILIES)


def told(api: Api, namespace: str, reason: str) -> list[dict[str, Any]]:
    items = api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events").checked()["items"]
    return [one for one in items if one["reason"] == reason]


def occupied(cluster: Cluster, port: int) -> socket.socket:
    """Something that listens on a port of the node, in both families."""
    sock = cluster.node.socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::", port))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("port", "reason", "server"),
    [
        (10256, "FailedToStartProxierHealthcheck", "the health server"),
        (10249, "FailedToStartMetricServer", "the metrics server"),
    ],
)
def test_the_last_word_of_an_agent_that_can_not_start(
    control: ControlPlane, cluster: Cluster, admin: Api, port: int, reason: str, server: str
) -> None:
    with occupied(cluster, port):
        agent = new_agent(control, cluster, "--bind-address-hard-fail")
        agent.start()
        eventually(lambda: not agent.running, "it ends", 20)
        assert agent.stop() == 1
    [event] = told(admin, "default", reason)
    assert (event["type"], event["action"], event["regarding"]["name"]) == ("Warning", "StartKubeProxy", NODE)
    assert event["note"].startswith(f"{server} can't listen on ")
    assert agent.log_tail(1).startswith(f"kproxy: {server} can't listen on ")


def test_a_health_check_port_that_is_taken(control: ControlPlane, cluster: Cluster, admin: Api) -> None:
    serve(admin, "web", NAMESPACE)
    spec = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": HEALTH_CHECK_PORT,
        "ports": [{"port": 80, "targetPort": 8080}],
    }
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "checked"}, "spec": spec}
    admin.post(f"/api/v1/namespaces/{NAMESPACE}/services", service).checked()
    reason = "FailedToStartServiceHealthcheck"
    with occupied(cluster, HEALTH_CHECK_PORT) as taken, new_agent(control, cluster) as agent:
        agent.wait_ready()
        eventually(lambda: bool(told(admin, NAMESPACE, reason)), "it is told")
        for port in (81, 82, 83):
            before = agent.last_sync()
            ports = [{"name": "web", "protocol": "TCP", "port": port}]
            admin.request("PATCH", f"/api/v1/namespaces/{NAMESPACE}/services/web", {"spec": {"ports": ports}}).checked()
            eventually(lambda was=before: agent.last_sync() != was, "there was another sync")  # type: ignore[misc]
        [event] = told(admin, NAMESPACE, reason)
        assert (event["type"], event["action"], event["regarding"]["kind"]) == ("Warning", "Listen", "Service")
        assert (event["regarding"]["name"], event["regarding"]["uid"]) == ("checked", f"{NAMESPACE}/checked")
        assert f"node {NODE}: " in event["note"]
        assert agent.log.read_text().count(reason) == 1
        taken.close()
    admin.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/services/checked").checked()


def test_the_server_takes_an_event_and_its_repetition(control: ControlPlane) -> None:
    """The longest names and notes, too."""
    event = health_check_failed("default", "w" * 63, "n" * 253, "why " * 1000)
    now = time.time()
    with control.api(control.service_account_token()) as api:
        for report in (Report(event, 1, now, now), Report(event, 12, now, now + 1800)):
            assert api.post(collection(event), json.loads(encode(report, "n" * 253))).status == 201
