"""Rows 92 to 97: what becomes of established connections and UDP flows when endpoints change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.flows.expect import ANY, REFUSED, answered
from tests.lab.agent import eventually
from tests.lab.probe import Outcome

if TYPE_CHECKING:
    from tests.flows.line import Source, Target
    from tests.flows.scene import Scene
    from tests.lab import Held


def established_endpoint_removed(scene: Scene) -> None:
    """For a pod's connection to the clusterIP, and for an outside one to the node port."""
    with scene.hold("PA", "C") as inside, scene.hold("EXT", "NA:NP") as outside:
        old = {inside.opened.who, outside.opened.who}
        assert old <= {"a1", "b1"}, f"opened: {inside.opened}; {outside.opened}"
        for gone, left in (("a1", "b1"), ("b1", "a1")):
            scene.set_endpoints(left)
            scene.wait_for("PA", "C", answered(left, ANY))
            scene.wait_for("EXT", "NA:NP", answered(left, ANY))
            _still(inside, inside.opened.who, f"after {gone} was removed")
            _still(outside, outside.opened.who, f"after {gone} was removed")


def established_all_removed(scene: Scene) -> None:
    ways: tuple[tuple[Source, Target], ...] = (("PA", "C"), ("EXT", "NA:NP"), ("A", "C"))
    held = [scene.hold(*way) for way in ways]
    try:
        scene.set_endpoints("")
        for way in ways[:2]:
            scene.wait_for(*way, REFUSED)
        for one in held:
            _still(one, "a1", "after the last endpoint was removed")
    finally:
        for one in held:
            one.close()


def udp_endpoint_removed(scene: Scene) -> None:
    with scene.hold("PA", "C", "udp") as flow:
        old = _opened(flow, {"a1", "b1"})
        (left,) = {"a1", "b1"} - {old}
        _still(flow, old, "while nothing changes")
        scene.set_endpoints(left)
        _becomes(flow, left)
        _still(flow, left, "after it was re-balanced")


def udp_endpoints_appear(scene: Scene) -> None:
    with scene.hold("PA", "C", "udp") as flow:
        assert flow.opened.outcome is Outcome.REFUSED, f"with no endpoints: {flow.opened}"
        scene.set_endpoints("a1")
        _becomes(flow, "a1")


def udp_black_hole(scene: Scene) -> None:
    with scene.hold("A", "X", "udp") as flow:
        assert flow.opened.who == "world", f"with no endpoints: {flow.opened}"
        scene.set_endpoints("a1")
        _becomes(flow, "a1")


def udp_last_endpoint_removed(scene: Scene) -> None:
    with scene.hold("PA", "C", "udp") as flow:
        _opened(flow, {"a1"})
        scene.set_endpoints("")
        eventually(lambda: flow.ask().outcome is Outcome.REFUSED, "the flow is refused once its last endpoint is gone")


def udp_service_deleted(scene: Scene) -> None:
    with scene.hold("PA", "C", "udp") as flow:
        _opened(flow, {"a1"})
        scene.delete_service()
        _becomes(flow, "world")


def udp_terminating_kept(scene: Scene) -> None:
    """The second Service's endpoint goes in the same step: once its flow has moved, stale entries were looked for."""
    with scene.hold("PA", "C", "udp") as flow, scene.hold("PA", "C", "udp", service=1) as other:
        _opened(flow, {"a1"})
        _opened(other, {"a1"})
        scene.set_endpoints("a1!term b1", "b1")
        _becomes(other, "b1")
        scene.wait_for("PA", "C", answered("b1"))
        _still(flow, "a1", "while its endpoint is terminating and serving")


def _opened(flow: Held, by: set[str]) -> str:
    assert flow.opened.who in by, f"before any change: {flow.opened}"
    return flow.opened.who


def _still(held: Held, who: str, when: str) -> None:
    for _ in range(3):
        answer = held.ask(timeout_s=1.0)
        assert answer.who == who, f"{when}, the flow that {who} answers: {answer}"


def _becomes(flow: Held, who: str) -> None:
    """The flow, from its one source port, comes to be answered by `who`.

    Nobody else may answer meanwhile: an answer that is under way when the flow's entry is deleted makes a new entry,
    the other way round, which the flow's next packet then belongs to. That race is not the proxy's.
    """
    last = flow.opened

    def arrived() -> bool:
        nonlocal last
        last = flow.ask(f"only {who}", timeout_s=0.1)
        return last.who == who

    try:
        eventually(arrived, f"the flow is answered by {who}")
    except TimeoutError as error:
        raise AssertionError(f"{error}; the last answer: {last}") from None
