"""web is scaled up and down while a pod and a client outside connect to it without a pause."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.demo import looks
from examples.demo.scaling import Step, scale
from examples.demo.steady import Steady
from examples.demo.tables import NODE_IPV4
from tests.lab import Outcome
from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.demo.stage import Stage
    from examples.demo.view import View
    from tests.lab import Answer, Held
    from tests.lab.probe import Protocol

STORY, SLICES = "web-ports", "endpoints.yaml"
CLUSTER_IP = "10.96.0.10"
PODS = ("web-1", "web-2", "web-3", "web-4")
SIZES = (PODS[:3], PODS, PODS[:1], (), PODS[:3])
MOVED_WITHIN_S = 5.0
#: Two pods of three will do, so that many are never needed.
TRIES = 60


def play(stage: Stage, view: View) -> None:
    """Go through SIZES, with two conversations that are older than the changes."""
    view.say(
        "A changed EndpointSlice is written into the directory while a pod (by clusterIP) and a client outside (by "
        "node port) connect without a pause. first new: from the write to the first connection that only the new "
        "state explains; last old: to the last one that only the old state does."
    )
    # The conversations are with pods that the second step takes away.
    leaving = set(PODS[1:3])
    with (
        contextlib.closing(_conversation(stage, "tcp", 80, leaving)) as tcp,
        contextlib.closing(_conversation(stage, "udp", 443, leaving)) as udp,
    ):
        moved = _scale(stage, view, udp)
        _tell(stage, view, _Conversation(tcp.opened.who, tcp.ask()), _Conversation(udp.opened.who, moved))
    view.pause(3.0)


@dataclass(frozen=True, slots=True)
class _Conversation:
    """Who answered it at the beginning, and what came of it in the end."""

    began_with: str
    last: Answer


def _scale(stage: Stage, view: View, udp: Held) -> Answer:
    """Go through SIZES; returns what came of the UDP conversation when its pod left."""
    done: list[Step] = []
    moved = udp.opened
    with (
        Steady(stage.cluster, "shopper", CLUSTER_IP, 80) as inside,
        Steady(stage.cluster, "client", NODE_IPV4, 30080) as outside,
        view.live() as show,
    ):
        for before, after in itertools.pairwise(SIZES):
            done.append(Step(before, after))
            write = _writer(stage, after)
            scale(stage, (inside, outside), done[-1], write, lambda: show(looks.steps(done, PODS)))
            if len(after) == 1:
                moved = _move(stage, udp, after[0])
    return moved


def _writer(stage: Stage, pods: tuple[str, ...]) -> Callable[[], float]:
    return lambda: stage.set_endpoints(STORY, SLICES, pods)


def _conversation(stage: Stage, protocol: Protocol, port: int, pods: set[str]) -> Held:
    """Open a conversation with one of these pods, whichever chance gives first."""
    for _ in range(TRIES):
        stage.check()
        held = stage.cluster.hold("shopper", CLUSTER_IP, port, protocol)
        stage.count(1, [] if held.opened.outcome is Outcome.ANSWERED else [f"a {protocol} conversation: {held.opened}"])
        if held.opened.who in pods:
            return held
        held.close()
    raise TimeoutError(f"none of {TRIES} {protocol} conversations was with {' or '.join(sorted(pods))}")


def _move(stage: Stage, udp: Held, pod: str) -> Answer:
    """Send from the same UDP port until `pod` answers; returns the last answer."""
    last = udp.opened

    def asked() -> bool:
        nonlocal last
        stage.check()
        last = udp.ask()
        return last.who == pod

    with contextlib.suppress(TimeoutError):
        stage.interrupt.wait_for(asked, f"{pod} answers over UDP", scaled(MOVED_WITHIN_S))
    return last


def _tell(stage: Stage, view: View, tcp: _Conversation, udp: _Conversation) -> None:
    """Say what became of the conversations that began before all this."""
    stayed, moved = tcp.last.who == tcp.began_with, udp.last.who == SIZES[2][0]
    stage.count(0, [] if stayed else [f"the TCP conversation with {tcp.began_with}: {tcp.last}"])
    stage.count(0, [] if moved else [f"the UDP conversation with {udp.began_with}: {udp.last}"])
    view.say(
        f"A TCP conversation with {tcp.began_with}, begun before, "
        + ("lasted through all of it." if stayed else f"did not last: {tcp.last}."),
        "" if stayed else "bold red",
    )
    view.say(
        f"A UDP one with {udp.began_with} "
        + (
            f"went over to {udp.last.who} when {udp.began_with} left: its stale conntrack entry was deleted."
            if moved
            else f"was not taken over: {udp.last}."
        ),
        "" if moved else "bold red",
    )
