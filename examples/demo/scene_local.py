"""The last local pod goes: what is Local finds nobody on this node, what is not goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.demo import looks, traffic
from examples.demo.tables import NO_LOCAL_POD
from tests.lab.httpget import get

if TYPE_CHECKING:
    from examples.demo.stage import Stage
    from examples.demo.view import View

STORY = "local-traffic"
HEALTH_PORT = 30961
HEALTHY, NOBODY_HERE = 200, 503
NOTICED_WITHIN_S = 10.0
BEAT_S = 0.15


def play(stage: Stage, view: View) -> None:
    """Take the pods of gateway and logs on node-a away, look at the connections, and bring them back."""
    view.say(
        "gateway-1 and logs-1, the ones on node-a, leave their Services. From outside node-a now answers nobody, as "
        "it has told the load balancer; pods on it still reach gateway, which is Local for outsiders only."
    )
    before = health(stage)
    stage.set_endpoints(STORY, "gateway-endpoints.yaml", ["gateway-2"])
    stage.set_endpoints(STORY, "logs-endpoints.yaml", ["logs-2"])
    stage.interrupt.wait_for(lambda: _gone(stage), "the pods on node-a are gone", NOTICED_WITHIN_S)
    after = health(stage)
    with view.live(BEAT_S) as show:
        traffic.play(stage, NO_LOCAL_POD, lambda tallies: show(looks.connections(tallies, "Service")))
    good = (before, after) == (HEALTHY, NOBODY_HERE)
    view.say(f"Health check node port {HEALTH_PORT}: {before} before, {after} now.", "" if good else "bold red")
    stage.count(0, [] if good else [f"health check node port: {before}, then {after} instead of 200, then 503"])
    stage.set_endpoints(STORY, "gateway-endpoints.yaml", ["gateway-1", "gateway-2"])
    stage.set_endpoints(STORY, "logs-endpoints.yaml", ["logs-1", "logs-2"])
    stage.interrupt.wait_for(lambda: _back(stage), "the pods on node-a are back", NOTICED_WITHIN_S)
    view.pause(2.0)


def health(stage: Stage) -> int:
    """Ask the way a load balancer does, from outside."""
    return get(stage.cluster.namespaces["client"], stage.cluster.address("node-a", "ipv4"), HEALTH_PORT).status


def _gone(stage: Stage) -> bool:
    stage.check()
    return health(stage) == NOBODY_HERE and _logs_are_dropped(stage)


def _back(stage: Stage) -> bool:
    stage.check()
    return health(stage) == HEALTHY and not _logs_are_dropped(stage)


def _logs_are_dropped(stage: Stage) -> bool:
    """Tell from the rules: the health check speaks for gateway alone."""
    return any("shop/logs:syslog has no local endpoints" in rule for rule in stage.rules("ipv4"))
