"""The first scene: who is where, and the agent starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.demo import looks, manifests
from examples.demo.tables import STORIES
from tests.lab import FAMILIES

if TYPE_CHECKING:
    from examples.demo.stage import Stage
    from examples.demo.view import View


def play(stage: Stage, view: View) -> None:
    """Show the cluster, start the agent, tell what it wrote."""
    plan = stage.cluster.plan
    pods = len(plan.of_kind("pod"))
    view.say(
        f"Two nodes, {pods} pods and two machines outside, each of them a network namespace with a real server in it. "
        f"kproxy runs on node-a and follows a directory with the manifests of {_stories(stage)}."
    )
    view.show(looks.hosts(plan))
    view.pause(1.0)
    seconds = stage.start_agent()
    services = sum(one["kind"] == "Service" for one in manifests.documents(stage.cluster.manifests.path))
    rules = {family: len(stage.rules(family)) for family in FAMILIES}
    view.say(
        f"\nkproxy was ready {seconds:.1f} s after its start: {services} Service{'s' * (services != 1)}, "
        f"{rules['ipv4']} iptables rules for IPv4 and {rules['ipv6']} for IPv6."
    )
    view.pause(1.5)


def _stories(stage: Stage) -> str:
    stories = stage.settings.stories
    return "examples/" if len(stories) == len(STORIES) else ", ".join(f"examples/{story}" for story in stories)
