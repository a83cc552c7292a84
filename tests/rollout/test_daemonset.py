"""deploy/ as docs/install.md says, on a node with a real kubelet: rolled out, on to a newer version, and back."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import dns.rcode
import pytest

from tests.docs.commands import commands
from tests.lab.agent import eventually
from tests.rollout.edits import Deploy
from tests.rollout.images import BROKEN, NEW, OLD
from tests.rollout.scene import MODES, RULES
from tests.takeover.handover import COMES, LEAVES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rollout.node import Node
    from tests.rollout.scene import Scene

pytestmark = pytest.mark.root
APPLY, _, APPLY_DNS = commands("install.md", "in a cluster")
AGAIN, ROLLED_OUT, BACK = commands("install.md", "in that cluster")

#: As the kernel has it: the interpreter, and the script that pip has made.
KPROXY = "/opt/kproxy/bin/python3 /usr/local/bin/kproxy run"


@pytest.mark.parametrize("mode", MODES)
def test_a_newer_version(mode: str, scene: Scene, tmp_path: Path) -> None:
    deploy = Deploy(scene, mode, tmp_path)
    scene.kubectl.type(APPLY, deploy.parent)
    scene.kubectl.type(ROLLED_OUT)
    assert (scene.running(), scene.rules()) == (OLD, RULES[mode])
    scene.change_endpoints(COMES, LEAVES)

    with scene.traffic() as traffic:
        deploy.name_version(NEW)
        scene.kubectl.type(AGAIN, deploy.parent)
        scene.kubectl.type(ROLLED_OUT)
        assert (scene.running(), scene.rules()) == (NEW, RULES[mode])
        scene.change_endpoints(LEAVES, COMES)
    scene.end(f"kproxy -> another version, {mode}", traffic)


def test_a_version_that_does_not_start(scene: Scene, tmp_path: Path) -> None:
    """Its Pod never becomes ready, the rules stay, and the version before takes over again."""
    deploy = Deploy(scene, "nftables", tmp_path)
    scene.kubectl.type(APPLY, deploy.parent)
    scene.kubectl.type(ROLLED_OUT)
    scene.change_endpoints(COMES, LEAVES)

    with scene.traffic() as traffic:
        deploy.name_version(BROKEN)
        scene.kubectl.type(AGAIN, deploy.parent)
        eventually(lambda: "CrashLoopBackOff" in scene.kubectl.reasons(), "the Pod fails again and again", 60)
        assert scene.running() == ""
        scene.kubectl.type(BACK)
        scene.kubectl.type(ROLLED_OUT)
        assert scene.running() == OLD
        scene.change_endpoints(LEAVES, COMES)
    scene.end("kproxy -> a version that fails -> back, nftables", traffic)


def test_a_process_that_hangs(scene: Scene, node: Node, tmp_path: Path) -> None:
    """It no longer says that it lives, so the kubelet ends it and starts another one."""
    deploy = Deploy(scene, "nftables", tmp_path)
    deploy.be_impatient()
    scene.kubectl.type(APPLY, deploy.parent)
    scene.kubectl.type(ROLLED_OUT)
    scene.change_endpoints(COMES, LEAVES)

    with scene.traffic() as traffic:
        [process] = node.processes(KPROXY)
        os.kill(process, signal.SIGSTOP)
        eventually(lambda: scene.kubectl.restarts() == 1, "it is started again", 60)
        scene.change_endpoints(LEAVES, COMES)
    scene.end("kproxy hangs and is started again, nftables", traffic)


def test_dns_gets_a_newer_version(scene: Scene, tmp_path: Path) -> None:
    """deploy/dns: the new Pod answers beside the old one, and no query is lost."""
    deploy = Deploy(scene, "nftables", tmp_path)
    rolled_out = ROLLED_OUT.replace("daemonset/kproxy", "daemonset/kproxy-dns")
    scene.write_service(COMES)
    scene.kubectl.type(APPLY, deploy.parent)
    scene.kubectl.type(APPLY_DNS, deploy.parent)
    scene.kubectl.type(rolled_out)

    with scene.queries() as load:
        load.goes_on()
        deploy.name_version(NEW, of="dns")
        scene.kubectl.type(APPLY_DNS, deploy.parent)
        scene.kubectl.type(rolled_out)
        eventually(lambda: scene.kubectl.images("kproxy-dns") == {f"kproxy:{NEW}"}, "the old Pod is gone", 30)
        load.goes_on()
    assert (load.lost, set(load.answered)) == ([], {dns.rcode.NOERROR})
    slowest = f"slowest {load.slowest_s * 1000:.0f} ms"
    scene.note(f"kproxy-dns -> another version: {load.total} queries, none lost, {slowest}")
