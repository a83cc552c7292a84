"""The scenes, in the order in which they are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.demo import looks, scene_headless, scene_local, scene_opening, scene_scaling, traffic
from examples.demo.tables import STORIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.demo.stage import Stage
    from examples.demo.view import View


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of the demo. It is played when one of its stories is on; without stories, always."""

    title: str
    stories: tuple[str, ...]
    play: Callable[[Stage, View], None]


#: Between two rounds of connections, on a terminal.
BEAT_S = 0.15


def _connections(told: dict[str, str], what: str = "", *, ports: bool = False) -> Callable[[Stage, View], None]:
    """Return a scene that makes the connections of stories and shows them; `told` is story -> what to say of it."""

    def play(stage: Stage, view: View) -> None:
        stories = stage.plays(*told)
        view.say(" ".join(told[story] for story in stories))
        lines = [line for story in stories for line in STORIES[story]]
        with view.live(BEAT_S) as show:
            traffic.play(stage, lines, lambda tallies: show(looks.connections(tallies, what, ports=ports)))
        view.pause(2.5)

    return play


PORTS = {
    "web-ports": "Pods connect to the Service's own address and port, machines outside to a node's address and "
    "nodePort. Both reach the pods on targetPort, and each new connection gets a pod by chance.",
}
WAYS = {
    "dual-stack": "Pods see other pods as they are. Who comes from outside is masqueraded and seen as node-a, so that "
    "the answers come back through it.",
}
POLICIES = {
    "session-affinity": "cart keeps each of 13 clients at one pod.",
    "topology-hints": "catalog stays in node-a's zone.",
    "external-server": "billing is a machine outside.",
    "local-traffic": "gateway answers outsiders on the node they came to, and sees them as they are. "
    "logs serves its own node.",
}

SCENES = (
    Scene("A cluster in network namespaces", (), scene_opening.play),
    Scene("One Service, several ports", tuple(PORTS), _connections(PORTS, "name", ports=True)),
    Scene("Every way in, in both address families", tuple(WAYS), _connections(WAYS)),
    Scene("Who answers is a matter of policy", tuple(POLICIES), _connections(POLICIES, "Service")),
    Scene("The last local pod goes", ("local-traffic",), scene_local.play),
    Scene("Scaled up and down under traffic", ("web-ports",), scene_scaling.play),
    Scene("The headless one gets names, and no rule", ("headless-database",), scene_headless.play),
)


def play(stage: Stage, view: View) -> None:
    """Play the scenes of the stories that are on."""
    played = [scene for scene in SCENES if not scene.stories or stage.plays(*scene.stories)]
    for number, scene in enumerate(played, start=1):
        view.heading(f"{number}/{len(played)}  {scene.title}")
        scene.play(stage, view)
        stage.check()
