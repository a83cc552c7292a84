"""Rows 28 to 30: session affinity. A pod with many addresses is many clients, so chance cannot look like affinity."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tests.lab.agent import eventually
from tests.lab.probe import Outcome, Probe, Protocol, many_sources
from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.flows.scene import Scene

#: The affinity timeout of rows 28 and 29, in whole seconds.
T = math.ceil(scaled(2))
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")
Client = tuple[Protocol, str]
Pins = dict[Client, str]
#: Instead of an endpoint, for a client that was not answered.
NOBODY = ""


def same_within_timeout(scene: Scene) -> None:
    """The third round comes later than T after the first, and is pinned only if the second restarted the timer."""
    first = _ask_from_everywhere(scene)
    assert len(set(first.values())) > 1, f"every source got {set(first.values())}"
    for _ in range(3):
        _idle(0.6 * T)
        assert _ask_from_everywhere(scene) == first, "a source was sent to another endpoint within the timeout"


def fresh_after_timeout(scene: Scene) -> None:
    """26 sources all getting the endpoint they had before by chance: once in 10 to the 15 runs."""
    first = _ask_from_everywhere(scene)
    _idle(T + scaled(0.5))
    assert _ask_from_everywhere(scene) != first, "every source is still pinned"


def fresh_when_ipvs_looks_again(scene: Scene) -> None:
    """IPVS remembers a closed connection (10 s after a reset), and while it does the pin stays, for 60 s each time."""
    first = _ask_from_everywhere(scene)
    _idle(T + 10 + 60 + scaled(2))
    assert _ask_from_everywhere(scene) != first, "every source is still pinned"


def pinned_endpoint_gone(scene: Scene) -> None:
    before = _ask_from_everywhere(scene)
    gone = before["tcp", scene.cluster.address("pa", scene.family)]
    left = [name for name in scene.deployed[0].svc.endpoints.split() if name != gone]
    scene.set_endpoints(" ".join(left))
    now: Pins = {}
    # IPVS forgets a datagram that is on its way to the endpoint when that is taken out: its reply is nobody's any more.
    forgets = scene.mode.letter == "v"
    may_be_lost = {client for client, who in before.items() if forgets and who == gone and client[0] == "udp"}

    def nobody_is_sent_there() -> bool:
        now.update(_ask_from_everywhere(scene, may_be_lost))
        return not {gone, NOBODY} & set(now.values())

    eventually(nobody_is_sent_there, f"no source is sent to {gone} any more")
    moved = {key for key, who in before.items() if who != gone and now[key] != who}
    assert not moved, f"pinned to endpoints that stayed, and moved: {sorted(moved)}"
    assert _ask_from_everywhere(scene) == now, "the fresh choice was not pinned"


def _ask_from_everywhere(scene: Scene, may_be_lost: Collection[Client] = ()) -> Pins:
    """Who answers each address of the pod, over each protocol. Everybody must be answered, but for `may_be_lost`."""
    address, port = scene.target("C")
    sources = scene.cluster.hosts["pa"].addresses[scene.family]
    probes = [p for protocol in PROTOCOLS for p in many_sources(Probe("pa", address, port, protocol), sources)]
    pins: Pins = {}
    for report in scene.cluster.probe_all(probes):
        client = report.probe.protocol, str(report.probe.source_address)
        answer = report.answers[0]
        if answer.outcome is not Outcome.ANSWERED and client not in may_be_lost:
            raise AssertionError(f"{client[0]} from {client[1]}: {report}")
        pins[client] = answer.who or NOBODY
    return pins


def _idle(seconds: float) -> None:
    """Send nothing for a while: the passing of time is what the timeout is about, so there is nothing to wait for."""
    time.sleep(seconds)
