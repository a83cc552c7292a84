"""One program's rules give way to another's under traffic: no connection is lost, and nothing of the old is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.takeover.handover import change_hands
from tests.takeover.masters import Master, kproxy, kube_proxy, make_bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Agent
    from tests.oracle.cluster import OracleCluster
    from tests.takeover.gaps import Gaps

pytestmark = pytest.mark.root

CHANGES = [
    (kube_proxy("iptables", "nft"), kproxy("iptables", "nft")),
    (kube_proxy("iptables", "nft"), kproxy("nftables")),
    (kube_proxy("iptables", "legacy"), kproxy("iptables", "legacy")),
    (kube_proxy("iptables", "legacy"), kproxy("nftables")),
    (kube_proxy("nftables"), kproxy("nftables")),
    (kube_proxy("nftables"), kproxy("iptables", "nft")),
    (kproxy("iptables", "nft"), kproxy("nftables")),
    (kproxy("iptables", "legacy"), kproxy("nftables")),
    (kproxy("nftables"), kproxy("iptables", "nft")),
    (kproxy("nftables"), kproxy("nftables")),
    (kproxy("iptables", "nft"), kproxy("iptables", "nft")),
]


@pytest.fixture(autouse=True)
def _bare_node(cluster: OracleCluster) -> Iterator[None]:
    yield
    make_bare(cluster.node)
    cluster.manifests.clear()


@pytest.mark.parametrize(
    ("before", "after"), CHANGES, ids=[f"{a.name}, {b.name}".replace(" ", "_") for a, b in CHANGES]
)
def test_a_node_changes_hands(before: Master, after: Master, cluster: OracleCluster, gaps: Gaps) -> None:
    def agent(master: Master) -> Agent:
        cluster.program = master.program
        return cluster.agent(*master.arguments)

    change_hands(cluster, before, after, agent, gaps)
