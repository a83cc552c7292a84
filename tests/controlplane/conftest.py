"""One lab with a control plane for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.controlplane.outage import Recoveries
from tests.lab import Cluster
from tests.peers import require

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    require("etcd", "kube-apiserver", "kube-controller-manager")
    with Cluster(plan_with_control_plane()) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def control(cluster: Cluster) -> Iterator[ControlPlane]:
    with ControlPlane.of(cluster) as control:
        control.install_rbac()
        yield control


RECOVERIES = Recoveries()


@pytest.fixture
def recoveries() -> Recoveries:
    return RECOVERIES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := RECOVERIES.lines():
        terminalreporter.section("seconds from the end of an outage until all was caught up with (min / median / max)")
        for line in lines:
            terminalreporter.line(line)
