"""What kube-proxy's IPVS mode leaves besides virtual servers: its ipsets, by name, and what they say is its own.

Names: kube-proxy's pkg/proxy/ipvs/ipset.go. A name has 31 characters at most, so some of IPv6 are cut.
"""

from __future__ import annotations

from typing import NamedTuple

from kproxy.state.addresses import Family

_LONGEST = 31
_PREFIXES = {Family.IPV4: "KUBE-", Family.IPV6: "KUBE-6-"}

_PORTS = {"NODE-PORT-TCP": "TCP", "NODE-PORT-UDP": "UDP"}
# By address and port. That of the clusterIPs is not needed: these are on the VIP link.
_SERVERS = ("NODE-PORT-SCTP-HASH", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "LOAD-BALANCER")
_OTHERS = (
    *("CLUSTER-IP", "LOOP-BACK", "IPVS-IPS", "HEALTH-CHECK-NODE-PORT"),
    *("LOAD-BALANCER-LOCAL", "LOAD-BALANCER-FW", "LOAD-BALANCER-SOURCE-CIDR", "LOAD-BALANCER-SOURCE-IP"),
    *("NODE-PORT-LOCAL-TCP", "NODE-PORT-LOCAL-UDP", "NODE-PORT-LOCAL-SCTP-HASH"),
)


class Sets(NamedTuple):
    """The sets of one family: all of them; those of node ports, with the protocol; those of addresses and ports."""

    names: frozenset[str]
    node_ports: dict[str, str]
    servers: frozenset[str]


def kube_proxy_sets(family: Family) -> Sets:
    """Return the sets of one family."""

    def name(of: str) -> str:
        return f"{_PREFIXES[family]}{of}"[:_LONGEST]

    node_ports = {name(one): protocol for one, protocol in _PORTS.items()}
    servers = frozenset(map(name, _SERVERS))
    return Sets(frozenset(map(name, _OTHERS)) | servers | node_ports.keys(), node_ports, servers)
