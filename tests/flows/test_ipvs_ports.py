"""A limit of IPVS itself, which docs/differences.md names: it tells replies apart by client and endpoint alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.lab import FAMILIES, Cluster, Outcome
from tests.lab.manifests import Object, Port, endpoint_slice, service
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from tests.lab import Family

PORT = Port("http", "tcp", 80, 8080)
CLIENT_PORT = 20000
CLUSTER_IPS: dict[str, dict[Family, str]] = {
    name: {"ipv4": f"10.96.78.{number}", "ipv6": f"fd00:10:96::78:{number}"}
    for number, name in enumerate(("first", "second"), start=1)
}


def objects(cluster: Cluster) -> list[Object]:
    """Two Services with the same endpoint."""
    services = [service(name, [PORT], list(ips.values())) for name, ips in CLUSTER_IPS.items()]
    slices = [
        endpoint_slice(name, family, [PORT], [cluster.endpoint("b1", family)])
        for name in CLUSTER_IPS
        for family in FAMILIES
    ]
    return [cluster.node_object(), *services, *slices]


@pytest.mark.root
@pytest.mark.uml
@pytest.mark.parametrize(
    ("mode", "older"),
    [pytest.param("ipvs", Outcome.SILENT, marks=needs_ipvs), ("nftables", Outcome.ANSWERED)],
)
def test_one_client_port_to_two_services_of_one_endpoint(mode: str, older: Outcome) -> None:
    """nf_tables gives the second connection another port; IPVS keeps it, and takes replies to the older for its own."""
    with Cluster(protocols=("tcp",)) as cluster:
        cluster.manifests.write("two", objects(cluster))
        with cluster.agent("--proxy-mode", mode, *LEAVE_CONNTRACK) as agent:
            agent.wait_ready(60)
            for family in FAMILIES:
                there = [(ips[family], PORT.port) for ips in CLUSTER_IPS.values()]
                with (
                    cluster.hold("a1", *there[0], source_port=CLIENT_PORT, shared_port=True) as first,
                    cluster.hold("a1", *there[1], source_port=CLIENT_PORT, shared_port=True) as second,
                ):
                    assert first.opened.outcome is Outcome.ANSWERED, family
                    assert second.opened.outcome is Outcome.ANSWERED, family
                    assert first.ask("still there?", timeout_s=1).outcome is older, family
