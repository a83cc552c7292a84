"""Pods of kproxy that a real kubelet runs: rolled out, rolled over, and put in the place of kubeadm's kube-proxy.

Clients connect all the while: no connection is refused, none that is open is lost.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.controlplane.traffic import Way
from tests.docs.commands import commands
from tests.lab import FAMILIES, POD_CIDRS
from tests.lab.agent import METRICS_PORT, eventually
from tests.lab.httpget import get
from tests.peers import VERSION, peer
from tests.rollout.images import KUBE_PROXY, NEW, OLD, REGISTRY
from tests.takeover.gaps import Gaps, TimedTraffic
from tests.takeover.handover import CLUSTER_IPS, COMES, LEAVES, NODE_PORT, STAYS, objects, who_answers
from tests.takeover.masters import kinds, make_bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster
    from tests.rollout.kubectl import Kubectl

pytestmark = pytest.mark.root
DEPLOY = Path(__file__).parents[2] / "deploy"
#: The kind of rules that each one makes in each mode.
RULES = {
    "kproxy": {"iptables": {"iptables-nft"}, "nftables": {"table kproxy"}},
    "kube-proxy": {"iptables": {"iptables-nft"}, "nftables": {"table kube-proxy"}},
}
#: The conntrack sysctls are the machine's, not the lab's.
LEAVE_CONNTRACK = "conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}"
CLUSTER_CIDR = ",".join(POD_CIDRS[family] for family in FAMILIES)


@pytest.fixture(autouse=True)
def _nothing_left(kubectl: Kubectl, cluster: Cluster) -> Iterator[None]:
    yield
    kubectl.delete_all("daemonsets", "pods")
    cluster.manifests.clear()
    make_bare(cluster.node)


@pytest.fixture
def ways(cluster: Cluster) -> list[Way]:
    """To a Service with two endpoints, by its addresses and by node ports."""
    cluster.manifests.write("switch", objects(cluster, STAYS, LEAVES))
    nodes = [cluster.address("node-a", family) for family in FAMILIES]
    return [*(Way("a1", one, 80) for one in CLUSTER_IPS), *(Way("client", one, NODE_PORT) for one in nodes)]


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_a_rolling_update(
    mode: str, kubectl: Kubectl, control: ControlPlane, cluster: Cluster, ways: list[Way], gaps: Gaps, tmp_path: Path
) -> None:
    """As docs/install.md says: edit, apply, and later another tag of the image."""
    (apply, *_) = commands("install.md", "in a cluster")
    deploy = shutil.copytree(DEPLOY, tmp_path / "deploy")
    edit(deploy / "configmap.yaml", r"https://control-plane.example:6443", control.server)
    edit(deploy / "configmap.yaml", r"mode: iptables", f"mode: {mode}\n    {LEAVE_CONNTRACK}")
    edit(deploy / "configmap.yaml", r"clusterCIDR: 10.244.0.0/16", f"clusterCIDR: {CLUSTER_CIDR}")
    kubectl.type(apply, tmp_path)
    kubectl.wait_for_roll_out("kproxy")
    assert (running(cluster), kinds(cluster.node)) == (OLD, RULES["kproxy"][mode])
    eventually(lambda: who_answers(cluster, ways) == [{STAYS, LEAVES}] * len(ways), "both endpoints answer")

    with TimedTraffic(cluster, ways, {STAYS, LEAVES, COMES}) as traffic:
        edit(deploy / "kustomization.yaml", f"newTag: {OLD}", f"newTag: {NEW}")
        kubectl.type(apply, tmp_path)
        kubectl.wait_for_roll_out("kproxy")
        assert (running(cluster), kinds(cluster.node)) == (NEW, RULES["kproxy"][mode])
        see_a_change(cluster, ways)
    traffic.check()
    gaps.add(f"kproxy {OLD} -> {NEW}, {mode}", traffic.longest_gap_s(), traffic.connections)


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_image_of_kubeadm_s_kube_proxy(
    mode: str, kubectl: Kubectl, control: ControlPlane, cluster: Cluster, ways: list[Way], gaps: Gaps, tmp_path: Path
) -> None:
    """The DaemonSet that kubeadm installs gets another image, and nothing else; then the first one again."""
    kubectl("apply", "-f", "-", stdin=kubeadm_s_manifests(control, mode, tmp_path))
    kubectl.wait_for_roll_out("kube-proxy")
    eventually(lambda: who_answers(cluster, ways) == [{STAYS, LEAVES}] * len(ways), "both endpoints answer", 30)
    assert kinds(cluster.node) == RULES["kube-proxy"][mode]

    (command,) = commands("install.md", "in a cluster with kubeadm's kube-proxy")
    with TimedTraffic(cluster, ways, {STAYS, LEAVES, COMES}) as traffic:
        kubectl.type(command)
        kubectl.wait_for_roll_out("kube-proxy")
        eventually(lambda: running(cluster) == OLD, "kproxy runs", 30)
        eventually(lambda: kinds(cluster.node) == RULES["kproxy"][mode], "only kproxy's rules are left", 30)
        see_a_change(cluster, ways)
    traffic.check()
    gaps.add(f"kubeadm's kube-proxy {VERSION} -> kproxy, {mode}", traffic.longest_gap_s(), traffic.connections)

    with TimedTraffic(cluster, ways, {STAYS, LEAVES, COMES}) as traffic:
        kubectl.type(command.replace(f"kproxy:{OLD}", KUBE_PROXY))
        kubectl.wait_for_roll_out("kube-proxy")
        cluster.manifests.write("switch", objects(cluster, STAYS, LEAVES))
        eventually(lambda: who_answers(cluster, ways) == [{STAYS, LEAVES}] * len(ways), "the change has effect", 30)
    traffic.check()
    gaps.add(f"and back to kube-proxy, {mode}", traffic.longest_gap_s(), traffic.connections)


def kubeadm_s_manifests(control: ControlPlane, mode: str, scratch: Path) -> str:
    """What kubeadm installs for kube-proxy: ServiceAccount, rights, ConfigMap, DaemonSet."""
    configuration = f"""
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v{VERSION}
imageRepository: {REGISTRY}
controlPlaneEndpoint: {control.server.removeprefix("https://")}
networking: {{podSubnet: "{CLUSTER_CIDR}"}}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
{LEAVE_CONNTRACK}
"""
    (scratch / "kubeadm.yaml").write_text(configuration)
    argv = [peer("kubeadm"), "init", "phase", "addon", "kube-proxy", "--print-manifest", "--config"]
    return subprocess.run([*argv, scratch / "kubeadm.yaml"], check=True, stdout=subprocess.PIPE, text=True).stdout


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old} in {path.name}"
    path.write_text(text.replace(old, new))


def running(cluster: Cluster) -> str:
    """The version of kproxy that answers on the node, "" when it is not kproxy."""
    try:
        page = get(cluster.node, "127.0.0.1", METRICS_PORT, "/metrics").body
    except OSError:
        return ""
    found = re.search(r'^kproxy_build_info\{.*\bversion="([^"]+)"', page, re.MULTILINE)
    return found[1] if found else ""


def see_a_change(cluster: Cluster, ways: list[Way]) -> None:
    """One endpoint leaves and another comes: what runs now has the rules in hand."""
    cluster.manifests.write("switch", objects(cluster, STAYS, COMES))
    eventually(lambda: who_answers(cluster, ways) == [{STAYS, COMES}] * len(ways), "the change has effect", 30)
