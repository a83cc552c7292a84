"""Rows 101 to 104: somebody flushes the rules; the program under test is restarted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.flows.expect import MASQUERADED, REFUSED, answered
from tests.lab.probe import Outcome, Probe

if TYPE_CHECKING:
    from tests.flows.scene import Scene
    from tests.lab import Report


def all_tables_flushed(scene: Scene) -> None:
    _works(scene)
    scene.mode.flush(scene.cluster.node, scene.family, ("mangle", "nat", "filter"))
    _works(scene)


def nat_flushed(scene: Scene) -> None:
    _works(scene)
    scene.mode.flush(scene.cluster.node, scene.family, ("nat",))
    _works(scene)


def table_deleted(scene: Scene) -> None:
    """No monitor: nothing is promised before the next event."""
    _works(scene)
    scene.mode.flush(scene.cluster.node, scene.family, ("kube-proxy",))
    scene.set_endpoints("b1")
    scene.wait_for("PA", "C", answered("b1"))


def restart(scene: Scene) -> None:
    """Connections are made all the time while the program is stopped and started, then killed and started."""
    address, port = scene.target("C")
    stream = Probe("pa", address, port, count=20, parallel=2, timeout_s=5.0)
    reports: list[Report] = []
    enough = threading.Event()

    def traffic() -> None:
        while not enough.is_set():
            reports.append(scene.cluster.probe(stream))

    with scene.hold("PA", "C") as held:
        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            for end in (scene.agent.stop, scene.agent.kill):
                end()
                _works(scene)
                scene.agent.start()
                scene.agent.wait_ready()
        finally:
            enough.set()
            thread.join()
            if not scene.agent.running:
                scene.agent.start()
        failed = [answer for report in reports for answer in report.answers if answer.outcome is not Outcome.ANSWERED]
        assert not failed, f"{len(failed)} of {20 * len(reports)} connections: {failed[0]}"
        assert {who for report in reports for who in report.who} == {"a1", "b1"}
        assert held.ask().who == held.opened.who, "the established connection was lost"
    _works(scene)


def _works(scene: Scene) -> None:
    """All that a flush takes away is there: both translations, and the refusal of the second Service."""
    scene.wait_for("PA", "C", answered("a1 b1"))
    scene.wait_for("EXT", "NA:NP", answered("a1 b1", MASQUERADED))
    if len(scene.deployed) > 1:
        scene.wait_for("PA", "C", REFUSED, service=1)
