"""A sync that hangs: health says so in every mode, the agent can be ended, and it goes on when the hang is over."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import one_node, web
from tests.flows.modes import MODES, Iptables, Ipvs, Mode
from tests.lab.agent import eventually
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agent.one_node import OneNode
    from tests.lab import Agent

pytestmark = pytest.mark.root

PERIOD_S = 1
END_S = 8
SILENT_KERNEL = """
import os, socket, time

class Socket(socket.socket):
    def send(self, *arguments):
        while self.family == socket.AF_NETLINK and self.proto in (12, 16) and os.path.exists({flag!r}):
            time.sleep(0.02)
        return super().send(*arguments)

socket.socket = Socket
"""


def hanging(mode: Mode, directory: Path) -> tuple[dict[str, str], Path]:
    """An environment in which nothing is written, and nothing returns, for as long as a file exists; and that file."""
    flag = directory / "hangs"
    if not isinstance(mode, Iptables):
        (directory / "sitecustomize.py").write_text(SILENT_KERNEL.format(flag=str(flag)))
        return {"PYTHONPATH": str(directory)}, flag
    for prefix in ("iptables", "ip6tables"):
        name = f"{prefix}-{mode.variant}-restore"
        script = directory / name
        script.write_text(f'#!/bin/sh\nwhile [ -e {flag} ]; do sleep 0.02; done\nexec {shutil.which(name)} "$@"\n')
        script.chmod(0o755)
    return {"PATH": f"{directory}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, flag


def agent_of(node: OneNode, mode: Mode, env: dict[str, str]) -> Agent:
    agent = node.agent(*mode.arguments, f"--iptables-sync-period={PERIOD_S}s", f"--ipvs-sync-period={PERIOD_S}s")
    agent.env |= env
    return agent


MODE = pytest.mark.parametrize(
    "mode",
    [pytest.param(mode, marks=[pytest.mark.uml, needs_ipvs] if isinstance(mode, Ipvs) else []) for mode in MODES],
    ids=lambda mode: mode.name,
)


@MODE
def test_health_turns_red_and_green_again(mode: Mode, tmp_path: Path) -> None:
    env, flag = hanging(mode, tmp_path)
    with one_node() as node:
        node.manifests.write("web", web())
        with agent_of(node, mode, env) as agent:
            agent.wait_ready()
            flag.touch()
            hung = time.time()
            node.manifests.write("web", web(endpoints=("10.244.1.11",)))
            eventually(lambda: agent.health("/livez").status == 503, "/livez is red")
            assert agent.health("/healthz").status == 503
            assert agent.last_sync()["ipv4"] < hung
            flag.unlink()
            eventually(lambda: agent.health("/healthz").status == 200, "/healthz is green again")
            assert agent.health("/livez").status == 200
            assert agent.last_sync()["ipv4"] > hung


@MODE
def test_it_can_be_ended(mode: Mode, tmp_path: Path) -> None:
    """As an orchestrator does it that has seen /livez red, before it loses its patience and sends SIGKILL."""
    env, flag = hanging(mode, tmp_path)
    with one_node() as node:
        node.manifests.write("web", web())
        agent = agent_of(node, mode, env)
        agent.start()
        agent.wait_ready()
        flag.touch()
        node.manifests.write("web", web(endpoints=("10.244.1.11",)))
        eventually(lambda: agent.health("/livez").status == 503, "/livez is red")
        assert agent.stop(END_S) == 0, agent.log_tail()
        said = agent.log.read_text()
    # Every second the rules are looked at, too: either may be what meets the hang.
    assert re.search("a (sync|look at the rules) has not ended for 2 s: health is red until it does", said)
    assert "stopped, although a sync hangs; the last good rules stay" in said
    assert "Traceback" not in said
