"""Every story with real packets: the agent follows the directory as it is, and its table comes out as written."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from examples.demo import manifests, topology, traffic
from examples.demo.expect import by
from examples.demo.scene_local import HEALTHY, NOBODY_HERE, health
from examples.demo.signals import Interrupt
from examples.demo.stage import AGENT_FLAGS, Settings, Stage
from examples.demo.tables import LOCAL_TRAFFIC, NO_LOCAL_POD, SCALED_TO_ZERO, STORIES, TOPOLOGY_HINTS, WEB_PORTS
from tests.lab.agent import Agent, eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from examples.demo.expect import Line

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The cluster, without an agent."""
    with Stage(Settings(stories=()), Interrupt()) as stage:
        yield stage


@contextlib.contextmanager
def agent_on(stage: Stage, directory: Path) -> Iterator[Agent]:
    """An agent that follows a directory."""
    program = (sys.executable, "-m", "kproxy", "run", "--manifests", str(directory), "--hostname-override", "node-a")
    stage.agent = Agent(stage.cluster.node, [*program, *AGENT_FLAGS], ("ipv4", "ipv6"))
    with stage.agent:
        stage.agent.wait_ready()
        yield stage.agent


def check(stage: Stage, lines: Iterable[Line]) -> None:
    tallies = traffic.play(stage, lines, lambda _tallies: None)
    wrong = [f"{tally.line}: {problem}" for tally in tallies for problem in tally.problems]
    assert not wrong, "\n".join([*wrong, stage.agent.log_tail()])


def copied(story: str, target: Path) -> Path:
    """A story in a directory of its own, to be changed."""
    for file in (manifests.EXAMPLES / story).glob("*.yaml"):
        (target / file.name).write_text(file.read_text())
    return target


def write(stage: Stage, directory: Path, file: str, pods: Iterable[str]) -> None:
    """Make these pods the endpoints of the slices in a file."""
    hosts = [stage.cluster.hosts[pod] for pod in pods]
    manifests.replace_file(directory / file, manifests.with_endpoints(manifests.documents(directory / file), hosts))


def until_rules(stage: Stage, text: str) -> None:
    eventually(lambda: any(text in rule for rule in stage.rules("ipv4")), f"a rule holds {text}")


@pytest.mark.parametrize("story", STORIES)
def test_a_story_as_it_is(stage: Stage, story: str) -> None:
    with agent_on(stage, manifests.EXAMPLES / story) as agent:
        check(stage, STORIES[story])
        assert agent.stop() == 0
    assert "ERROR" not in agent.log.read_text()
    assert "WARNING" not in agent.log.read_text()


def test_the_headless_database_is_handed_to_dns(stage: Stage) -> None:
    with agent_on(stage, manifests.EXAMPLES / "headless-database") as agent:
        rules = stage.rules("ipv4") + stage.rules("ipv6")
        assert rules
        assert not [rule for rule in rules if "shop/db" in rule or "10.244.1.13" in rule or "10.244.2.13" in rule]
        eventually(lambda: "no rules, handed to DNS: shop/db (headless)" in agent.log.read_text(), "the log says so")


def test_web_without_pods_refuses_and_comes_back(stage: Stage, tmp_path: Path) -> None:
    directory = copied("web-ports", tmp_path)
    with agent_on(stage, directory):
        write(stage, directory, "endpoints.yaml", [])
        until_rules(stage, "shop/web:metrics has no endpoints")
        check(stage, SCALED_TO_ZERO)
        write(stage, directory, "endpoints.yaml", ["web-2", "web-4"])
        until_rules(stage, "10.244.2.12:9100")
        check(stage, [replace(line, expected=replace(line.expected, who=("web-2", "web-4"))) for line in WEB_PORTS])


def test_local_traffic_without_local_pods(stage: Stage, tmp_path: Path) -> None:
    directory = copied("local-traffic", tmp_path)
    with agent_on(stage, directory):
        assert health(stage) == HEALTHY
        write(stage, directory, "gateway-endpoints.yaml", ["gateway-2"])
        write(stage, directory, "logs-endpoints.yaml", ["logs-2"])
        until_rules(stage, "shop/logs:syslog has no local endpoints")
        eventually(lambda: health(stage) == NOBODY_HERE, "the health check says so")
        check(stage, NO_LOCAL_POD)
        write(stage, directory, "gateway-endpoints.yaml", ["gateway-1", "gateway-2"])
        write(stage, directory, "logs-endpoints.yaml", ["logs-1", "logs-2"])
        until_rules(stage, "10.244.1.18:5140")
        eventually(lambda: health(stage) == HEALTHY, "the health check says so")
        check(stage, LOCAL_TRAFFIC)


def test_one_hint_less_and_every_pod_is_used(stage: Stage, tmp_path: Path) -> None:
    directory = copied("topology-hints", tmp_path)
    slices = manifests.documents(directory / "endpoints.yaml")
    del slices[0]["endpoints"][1]["hints"]
    manifests.replace_file(directory / "endpoints.yaml", slices)
    with agent_on(stage, directory):
        check(stage, [replace(TOPOLOGY_HINTS[0], expected=by("catalog-1 catalog-2", 8080))])


def test_the_pods_are_where_the_tables_say(stage: Stage) -> None:
    assert {host.name for host in stage.cluster.plan.of_kind("pod")} == {*topology.PODS_A, *topology.PODS_B}
