"""Who is where in the demo's cluster, and who listens on what. The addresses are those in the stories' YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab import Host, Plan, small_cluster
from tests.lab.addresses import on_underlay

if TYPE_CHECKING:
    from tests.lab import Cluster
    from tests.lab.probe import Protocol

#: In the order of their addresses: 10.244.1.11, .12 ... on node-a, 10.244.2.11 ... on node-b. The last one of
#: node-a is a client with many addresses.
PODS_A = ("web-1", "web-2", "db-0", "cart-1", "cart-2", "catalog-1", "gateway-1", "logs-1", "api-1", "shopper")
PODS_B = ("web-3", "web-4", "db-1", "cart-3", "catalog-2", "gateway-2", "logs-2", "api-2")
#: A machine outside the cluster.
MAINFRAME = "mainframe"

NODE = "node-a"
ZONES = {"node-a": "west", "node-b": "east"}

#: What is listened on besides port 8080 of every pod, by the beginning of the host's name.
LISTENING: dict[str, tuple[tuple[Protocol, int], ...]] = {
    "web-": (("tcp", 8443), ("udp", 8443), ("tcp", 9100)),
    "db-": (("tcp", 5432),),
    "logs-": (("udp", 5140),),
    MAINFRAME: (("tcp", 8443),),
}


def shop() -> Plan:
    """Return the plan of the cluster: two nodes, the shop's pods, a client and a server outside."""
    hosts = [host for host in small_cluster(PODS_A, PODS_B).hosts if host.name != "stranger"]
    return Plan((*hosts, Host(MAINFRAME, "client", on_underlay(103))))


def serve(cluster: Cluster) -> None:
    """Open what LISTENING says, on top of what every pod of a lab listens on."""
    for host in cluster.plan.hosts:
        for prefix, ports in LISTENING.items():
            if host.name.startswith(prefix):
                for protocol, port in ports:
                    cluster.listen(host.name, [port], [protocol])
