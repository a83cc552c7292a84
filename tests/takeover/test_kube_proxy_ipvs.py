"""A node that a real kube-proxy in IPVS mode had: played in User-Mode Linux, with etcd and kube-apiserver inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.takeover.handover import change_hands
from tests.takeover.masters import Master, kproxy, kube_proxy
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Agent
    from tests.oracle.cluster import OracleCluster
    from tests.takeover.gaps import Gaps

pytestmark = [pytest.mark.root, pytest.mark.uml, needs_ipvs]


@pytest.fixture(autouse=True)
def _bare_node(cluster: OracleCluster) -> Iterator[None]:
    yield
    for command in ("nft flush ruleset", "ipvsadm -C", "ip link delete kube-ipvs0", "ipset destroy"):
        cluster.node.run(*command.split(), check=False)
    cluster.manifests.clear()


@pytest.mark.parametrize(
    "after", [kproxy("nftables"), kproxy("iptables", "nft"), kproxy("ipvs")], ids=lambda one: one.name.replace(" ", "_")
)
def test_a_node_changes_hands(after: Master, cluster: OracleCluster, gaps: Gaps) -> None:
    def agent(master: Master) -> Agent:
        cluster.program = master.program
        return cluster.agent(*master.arguments)

    change_hands(cluster, kube_proxy("ipvs", "nft"), after, agent, gaps)
