"""The address plan of the lab: who is where, and which ranges belong to whom. Values only, nothing is made here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["ipv4", "ipv6"]
Kind = Literal["node", "pod", "client", "world"]

FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")

#: First address family, then prefix. The pods of node-a and node-b are in 10.244.1.0/24 and 10.244.2.0/24.
POD_CIDRS: dict[Family, str] = {"ipv4": "10.244.0.0/16", "ipv6": "fd00:10:244::/48"}
CLUSTER_IPS: dict[Family, str] = {"ipv4": "10.96.0.0/16", "ipv6": "fd00:10:96::/64"}
LOAD_BALANCER_IPS: dict[Family, str] = {"ipv4": "10.97.0.0/16", "ipv6": "fd00:10:97::/64"}
EXTERNAL_IPS: dict[Family, str] = {"ipv4": "10.98.0.0/16", "ipv6": "fd00:10:98::/64"}
#: Cluster addresses that no Service has.
UNALLOCATED_IPS: dict[Family, str] = {"ipv4": "10.99.0.0/16", "ipv6": "fd00:10:99::/64"}
VIRTUAL_RANGES = (CLUSTER_IPS, LOAD_BALANCER_IPS, EXTERNAL_IPS, UNALLOCATED_IPS)

UNDERLAY_PREFIX: dict[Family, int] = {"ipv4": 24, "ipv6": 64}
#: The next hop of every pod: a proxied address in IPv4, the node end's own link-local address in IPv6.
POD_GATEWAY: dict[Family, str] = {"ipv4": "169.254.1.1", "ipv6": "fe80::1"}


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace with addresses.

    `addresses[family][0]` is the primary address; the others are there for tests that need several sources.
    `node` is the name of the node a pod runs on, empty for everything that is not a pod.
    """

    name: str
    kind: Kind
    addresses: dict[Family, tuple[str, ...]]
    node: str = ""

    def primary(self, family: Family) -> str:
        return self.addresses[family][0]


@dataclass(frozen=True, slots=True)
class Plan:
    """The hosts of a cluster. `node_under_test` is where the virtual ranges of clients and of node B are routed."""

    hosts: tuple[Host, ...]
    node_under_test: str = "node-a"

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(f"no host {name!r} in the lab; it has {', '.join(host.name for host in self.hosts)}")

    def of_kind(self, *kinds: Kind) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.kind in kinds)

    def pods_of(self, node: str) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.node == node)


def numbered(base: dict[Family, str], family: Family, group: int, number: int) -> str:
    """The address `group`.`number` of a range, with the same digits in both families: 10.96.0.17, fd00:10:96::17."""
    network = base[family].split("/")[0]
    if family == "ipv4":
        return f"{network.rsplit('.', 2)[0]}.{group}.{number}"
    return f"{network}{group}:{number}" if group else f"{network}{number}"


def pod_subnet(node_number: int, family: Family) -> str:
    """The prefix from which one node's pods have their addresses."""
    return f"10.244.{node_number}.0/24" if family == "ipv4" else f"fd00:10:244:{node_number}::/64"


def on_underlay(*numbers: int) -> dict[Family, tuple[str, ...]]:
    """Addresses on the network that nodes, clients and the world share."""
    return {
        "ipv4": tuple(f"172.18.0.{n}" for n in numbers),
        "ipv6": tuple(f"fd00:172:18::{n}" for n in numbers),
    }


def in_pod_subnet(node_number: int, *numbers: int) -> dict[Family, tuple[str, ...]]:
    return {
        "ipv4": tuple(f"10.244.{node_number}.{n}" for n in numbers),
        "ipv6": tuple(f"fd00:10:244:{node_number}::{n}" for n in numbers),
    }


def small_cluster(
    pods_a: tuple[str, ...] = ("a1", "a2", "pa"),
    pods_b: tuple[str, ...] = ("b1", "b2"),
    spare_sources: int = 12,
) -> Plan:
    """Two nodes with their pods, two clients on the same network, and the world, everybody's default gateway.

    node-a has a second address on the underlay. `client` and the last pod of node A have `spare_sources` more
    addresses each, for tests that need many sources.
    """
    spare = range(128, 128 + spare_sources)
    hosts = [
        Host("node-a", "node", on_underlay(1, 11)),
        Host("node-b", "node", on_underlay(2)),
        Host("client", "client", on_underlay(101, *spare)),
        Host("stranger", "client", on_underlay(102)),
        Host("world", "world", on_underlay(254)),
    ]
    for i, name in enumerate(pods_a):
        last = i == len(pods_a) - 1
        hosts.append(Host(name, "pod", in_pod_subnet(1, 11 + i, *(spare if last else ())), node="node-a"))
    hosts += [Host(name, "pod", in_pod_subnet(2, 11 + i), node="node-b") for i, name in enumerate(pods_b)]
    return Plan(tuple(hosts))
