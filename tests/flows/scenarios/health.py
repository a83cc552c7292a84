"""Rows 54, 56 and 86 to 91: health-check node ports, /healthz and /livez."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING, Any

from tests.flows.expect import answered
from tests.lab.agent import eventually
from tests.lab.httpget import Response, get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.flows.scene import Scene
    from tests.lab.manifests import Object

TAINT = {"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}


def two_local_endpoints(scene: Scene) -> None:
    answer = _health_port(scene)
    assert answer.status == 200, f"status {answer.status}"
    assert answer.headers.get("x-load-balancing-endpoint-weight") == "2"
    assert answer.headers.get("content-type") == "application/json"
    place = scene.deployed[0].place
    said = json.loads(answer.body)
    assert said["service"] == {"namespace": "lab", "name": place.name}
    assert (said["localEndpoints"], said["serviceProxyHealthy"]) == (2, True)


def no_local_endpoints(scene: Scene) -> None:
    answer = _health_port(scene)
    assert answer.status == 503, f"status {answer.status}"
    assert answer.headers.get("x-load-balancing-endpoint-weight") == "0"
    assert json.loads(answer.body)["localEndpoints"] == 0


def sync_is_stuck(scene: Scene) -> None:
    """A change that cannot be applied is pending: unhealthy after two sync periods, healthy once it is applied."""
    assert _health_port(scene).status == 200
    scene.obstruction.touch()
    try:
        scene.set_endpoints(scene.deployed[0].svc.endpoints, "b1")
        _wait(lambda: _health_port(scene).status == 503, "the health port answers 503 while a sync is pending")
        said = json.loads(_health_port(scene).body)
        assert (said["localEndpoints"], said["serviceProxyHealthy"]) == (2, False)
        assert (scene.agent.health("/healthz").status, scene.agent.health("/livez").status) == (503, 503)
    finally:
        scene.obstruction.unlink()
    _wait(lambda: _health_port(scene).status == 200, "the health port answers 200 once syncs work again")
    scene.wait_for("PA", "C", answered("b1"), service=1)


def node_deleted(scene: Scene) -> None:
    with _node(scene, lambda node: node["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z")):
        _wait(lambda: scene.agent.health().status == 503, "/healthz answers 503 while the node is being deleted")
        assert _health_port(scene).status == 200


def node_tainted(scene: Scene) -> None:
    with _node(scene, lambda node: node["spec"].update(taints=[TAINT])):
        _wait(lambda: scene.agent.health().status == 503, "/healthz answers 503 while the node is tainted")
        assert scene.agent.health("/livez").status == 200


def node_cordoned(scene: Scene) -> None:
    """The Service's change is in the same file as the Node's, so when it has arrived, so has the Node's."""
    with _node(
        scene, lambda node: node["spec"].update(unschedulable=True), scene.deployed[0].slices(scene.cluster, "b1")
    ):
        scene.wait_for("PA", "C", answered("b1"))
        assert scene.agent.health().status == 200


def _health_port(scene: Scene) -> Response:
    """GET the first Service's health-check node port of node A, from outside the cluster."""
    address = scene.cluster.address("node-a", scene.family)
    return get(scene.cluster.namespaces["client"], address, scene.deployed[0].place.health_port)


@contextlib.contextmanager
def _node(scene: Scene, change: Callable[[Object], Any], others: list[Object] | None = None) -> Iterator[None]:
    """The Node object is different within the block; `others` are objects that change in the same step."""
    node = scene.cluster.node_object(scene.config.zone)
    change(node)
    if others:
        scene.cluster.manifests.remove(f"{scene.deployed[0].place.name}-slices")
    scene.cluster.manifests.write("node", [node, *(others or [])])
    try:
        yield
    finally:
        scene.cluster.manifests.write("node", [scene.cluster.node_object(scene.config.zone)])
        if others:
            scene.set_endpoints()
        _wait(lambda: scene.agent.health().status == 200, "/healthz answers 200 again")


def _wait(condition: Callable[[], bool], what: str) -> None:
    def holds() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return condition()
        return False

    eventually(holds, what)
