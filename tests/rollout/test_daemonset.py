"""deploy/ as docs/install.md says, on a node with a real kubelet: rolled out, on to a newer version, and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.commands import commands
from tests.lab.agent import eventually
from tests.rollout.images import BROKEN, NEW, OLD
from tests.rollout.scene import CLUSTER_CIDR, LEAVE_CONNTRACK, MODES, RULES, Scene
from tests.takeover.handover import COMES, LEAVES

pytestmark = pytest.mark.root
DEPLOY = Path(__file__).parents[2] / "deploy"
APPLY, *_ = commands("install.md", "in a cluster")
AGAIN, ROLLED_OUT, BACK = commands("install.md", "in that cluster")


@pytest.mark.parametrize("mode", MODES)
def test_a_newer_version(mode: str, scene: Scene, tmp_path: Path) -> None:
    deploy = edited(scene, mode, tmp_path)
    scene.kubectl.type(APPLY, deploy.parent)
    scene.kubectl.type(ROLLED_OUT)
    assert (scene.running(), scene.rules()) == (OLD, RULES[mode])
    scene.change_endpoints(COMES, LEAVES)

    with scene.traffic() as traffic:
        edit(deploy / "kustomization.yaml", f"newTag: {OLD}", f"newTag: {NEW}")
        scene.kubectl.type(AGAIN, deploy.parent)
        scene.kubectl.type(ROLLED_OUT)
        assert (scene.running(), scene.rules()) == (NEW, RULES[mode])
        scene.change_endpoints(LEAVES, COMES)
    scene.end(f"kproxy -> another version, {mode}", traffic)


def test_a_version_that_does_not_start(scene: Scene, tmp_path: Path) -> None:
    """Its Pod never becomes ready, the rules stay, and the version before takes over again."""
    deploy = edited(scene, "nftables", tmp_path)
    scene.kubectl.type(APPLY, deploy.parent)
    scene.kubectl.type(ROLLED_OUT)
    scene.change_endpoints(COMES, LEAVES)

    with scene.traffic() as traffic:
        edit(deploy / "kustomization.yaml", f"newTag: {OLD}", f"newTag: {BROKEN}")
        scene.kubectl.type(AGAIN, deploy.parent)
        eventually(lambda: "CrashLoopBackOff" in scene.kubectl.reasons(), "the Pod fails again and again", 60)
        assert scene.running() == ""
        scene.kubectl.type(BACK)
        scene.kubectl.type(ROLLED_OUT)
        assert scene.running() == OLD
        scene.change_endpoints(LEAVES, COMES)
    scene.end("kproxy -> a version that fails -> back, nftables", traffic)


def edited(scene: Scene, mode: str, scratch: Path) -> Path:
    """A copy of deploy/ with the address of the API server, the pods' CIDRs and the mode in it."""
    deploy: Path = shutil.copytree(DEPLOY, scratch / "deploy")
    edit(deploy / "configmap.yaml", "https://control-plane.example:6443", scene.server)
    edit(deploy / "configmap.yaml", "clusterCIDR: 10.244.0.0/16", f"clusterCIDR: {CLUSTER_CIDR}")
    edit(deploy / "configmap.yaml", "mode: iptables", f"mode: {mode}\n    {LEAVE_CONNTRACK}")
    return deploy


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old} in {path.name}"
    path.write_text(text.replace(old, new))
