"""The part of rows 17 and 47 that is not a packet: the gauge of ports that drop for lack of a local endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flows.expect import ANY, DROPPED, answered
from tests.lab.agent import METRIC_FAMILY, eventually

if TYPE_CHECKING:
    from tests.flows.line import Source, Target
    from tests.flows.scene import Scene

NO_LOCAL = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"


def internal_is_counted(scene: Scene) -> None:
    _is_counted(scene, "internal", "PA", "C")


def external_is_counted(scene: Scene) -> None:
    _is_counted(scene, "external", "EXT", "X")


def _is_counted(scene: Scene, policy: str, source: Source, target: Target) -> None:
    """The Service loses its local endpoint and gets it back; each of its ports counts as one.

    No other scenario that runs at the same time moves the gauge of this family and policy.
    """

    def gauge() -> float:
        return scene.agent.metric(NO_LOCAL, ip_family=METRIC_FAMILY[scene.family], traffic_policy=policy) or 0.0

    before, ports = gauge(), len(scene.deployed[0].ports)
    scene.wait_for(source, target, answered("a1", ANY))
    scene.set_endpoints("b1")
    scene.wait_for(source, target, DROPPED)
    eventually(lambda: gauge() == before + ports, f"the gauge goes from {before} to {before + ports}; it is {gauge()}")
    scene.set_endpoints("a1")
    eventually(lambda: gauge() == before, f"the gauge goes back to {before}; it is {gauge()}")
