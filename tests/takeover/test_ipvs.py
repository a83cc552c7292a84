"""Into IPVS mode and out of it; played in User-Mode Linux, over manifests: no API server needs to start there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Cluster
from tests.takeover.handover import change_hands
from tests.takeover.masters import Master, kproxy
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from tests.takeover.gaps import Gaps

pytestmark = [pytest.mark.root, pytest.mark.uml, needs_ipvs]

INTO = [(kproxy("iptables", "nft"), kproxy("ipvs")), (kproxy("nftables"), kproxy("ipvs"))]
OUT = [(after, before) for before, after in INTO]


@pytest.mark.parametrize(("before", "after"), [*INTO, *OUT], ids=lambda master: master.name.replace(" ", "_"))
def test_a_node_changes_hands(before: Master, after: Master, gaps: Gaps) -> None:
    with Cluster(protocols=("tcp",)) as cluster:
        agent = lambda master: cluster.agent(*master.arguments)  # noqa: E731
        change_hands(cluster, before, after, agent, gaps, restart=(before, after) in OUT)
