"""One lab whose node under test has a kubelet, with a control plane that rolls DaemonSets out to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.lab import Cluster
from tests.oracle.api_objects import ApiObjects
from tests.packaging import layers
from tests.peers import peer, require
from tests.rollout.images import build
from tests.rollout.kubectl import Kubectl
from tests.rollout.node import Node, require_control_groups
from tests.rollout.scene import Scene
from tests.takeover.gaps import Gaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rollout.oci import Image

GAPS = Gaps()
PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubelet", "kube-proxy", "kubectl", "kubeadm"),
)
CONTROLLERS = ("daemonset-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller")


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    """Whatever takes long where nothing was built before: no server waits meanwhile."""
    require(*PROGRAMS)
    layers.require()
    require_control_groups()
    for program in PROGRAMS:
        peer(program)
    return build(tmp_path_factory.mktemp("kube-proxy"))


@pytest.fixture(scope="package")
def cluster(images: list[Image]) -> Iterator[Cluster]:
    with Cluster(plan_with_control_plane(), ("tcp",)) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def control(cluster: Cluster) -> Iterator[ControlPlane]:
    with ControlPlane.of(cluster, flags=["--authorization-mode=Node"], service_accounts=True) as control:
        control.start_scheduler()
        control.start_controllers(*CONTROLLERS)
        objects = ApiObjects(cluster.manifests.path, control)
        cluster.manifests = objects
        yield control
        objects.close()


@pytest.fixture(scope="package")
def node(cluster: Cluster, control: ControlPlane, images: list[Image]) -> Iterator[Node]:
    with Node(cluster, control, images) as node:
        yield node


@pytest.fixture
def scene(cluster: Cluster, control: ControlPlane, node: Node) -> Iterator[Scene]:
    """With a node that is ready, and nothing on it."""
    kubectl = Kubectl(control, node)
    kubectl.wait_for_node()
    scene = Scene(cluster, control, kubectl, GAPS)
    yield scene
    scene.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := GAPS.lines():
        terminalreporter.section("longest time without a new connection while a kubelet replaced the Pod")
        for line in lines:
            terminalreporter.line(line)
