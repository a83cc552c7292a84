"""The DaemonSet that kubeadm installs for kube-proxy gets kproxy's image, and nothing else; then its own again."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.docs.commands import commands
from tests.lab.agent import eventually
from tests.peers import VERSION, peer
from tests.rollout.images import KUBE_PROXY, OLD, REGISTRY
from tests.rollout.scene import CLUSTER_CIDR, LEAVE_CONNTRACK, MODES, RULES, SEEN_WITHIN_S, Scene
from tests.takeover.handover import COMES, LEAVES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rollout.node import Node

pytestmark = pytest.mark.root
KUBE_PROXY_S_RULES = {"iptables": {"iptables-nft"}, "nftables": {"table kube-proxy"}}
#: kubeadm itself leaves the field empty, which is iptables mode.
FIELD = {"iptables": '""', "nftables": "nftables"}
(CHANGE,) = commands("install.md", "in a cluster with kubeadm's kube-proxy")
(REMOVE,) = commands("install.md", "for each node of that cluster")


@pytest.mark.parametrize("mode", MODES)
def test_another_image(mode: str, scene: Scene, node: Node, tmp_path: Path) -> None:
    scene.kubectl("apply", "-f", "-", stdin=manifests(scene, mode, tmp_path))
    wait_for_roll_out(scene)
    scene.change_endpoints(COMES, LEAVES)
    assert scene.rules() == KUBE_PROXY_S_RULES[mode]

    with scene.traffic() as traffic:
        scene.kubectl.type(CHANGE)
        wait_for_roll_out(scene)
        eventually(lambda: scene.running() == OLD, "kproxy runs", SEEN_WITHIN_S)
        scene.wait_for_rules(RULES[mode])
        scene.change_endpoints(LEAVES, COMES)
        assert re.findall(".*403 Forbidden.*", node.said_by("kube-proxy")) == [], "kube-proxy's rights are enough"
    scene.end(f"kubeadm's kube-proxy -> kproxy, {mode}", traffic)

    with scene.traffic() as traffic:
        scene.kubectl.type(CHANGE.replace(f"kproxy:{OLD}", KUBE_PROXY))
        wait_for_roll_out(scene)
        scene.change_endpoints(COMES, LEAVES)
        if mode == "nftables":
            assert scene.rules() == {"table kube-proxy", "table kproxy"}
            scene.kubectl.type(REMOVE.replace("NODE", "node-a"))
        scene.wait_for_rules(KUBE_PROXY_S_RULES[mode])
        scene.change_endpoints(LEAVES, COMES)
    scene.end(f"kproxy -> kubeadm's kube-proxy, {mode}", traffic)


def wait_for_roll_out(scene: Scene) -> None:
    scene.kubectl("-n", "kube-system", "rollout", "status", "daemonset/kube-proxy")


def manifests(scene: Scene, mode: str, scratch: Path) -> str:
    """What kubeadm installs: ServiceAccount, its rights, ConfigMap, DaemonSet."""
    configuration = f"""
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v{VERSION}
imageRepository: {REGISTRY}
controlPlaneEndpoint: {scene.server.removeprefix("https://")}
networking: {{podSubnet: "{CLUSTER_CIDR}"}}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {FIELD[mode]}
{LEAVE_CONNTRACK}
"""
    (scratch / "kubeadm.yaml").write_text(configuration)
    words = ("init", "phase", "addon", "kube-proxy", "--print-manifest", "--config")
    argv: list[str | Path] = [peer("kubeadm"), *words, scratch / "kubeadm.yaml"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
