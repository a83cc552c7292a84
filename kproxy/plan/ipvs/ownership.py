"""Whose virtual servers are whose: IPVS has no place for a name, so what kproxy made is told by what goes with it.

A virtual server is kproxy's (or kube-proxy's, whose place it takes) if its address is on the VIP link, or if it stands
in the packet filter's table, or in kube-proxy's ipsets: by address and port, or, for node ports, by port, on an address
of this node. All others are foreign: they are never changed or deleted, not by `kproxy cleanup` either.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.nftables.packing import PROTOCOL_NUMBERS, pack_ip, pack_port

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from kproxy.plan.ipvs.server import VirtualServer


class Ownership(msgspec.Struct, frozen=True):
    """What tells whose a virtual server is.

    `vips` are the addresses on the VIP link, `node_ips` the node's others. `servers` and `node_ports` are keys as
    in the table's sets: `ip daddr . meta l4proto . th dport`, and `meta l4proto . th dport`. `excluded` are
    --ipvs-exclude-cidrs.
    """

    vips: Collection[str] = ()
    node_ips: Collection[str] = ()
    servers: Collection[bytes] = ()
    node_ports: Collection[bytes] = ()
    excluded: tuple[str, ...] = ()

    def ours(self, servers: Iterable[VirtualServer]) -> set[VirtualServer]:
        """Return those that may be deleted when no Service wants them."""
        networks = [ipaddress.ip_network(cidr) for cidr in self.excluded]
        found = set()
        for server in servers:
            if server.protocol not in PROTOCOL_NUMBERS or not self._is_ours(server):
                continue
            if networks and any(ipaddress.ip_address(server.ip) in network for network in networks):
                continue
            found.add(server)
        return found

    def _is_ours(self, server: VirtualServer) -> bool:
        if server.ip in self.vips:
            return True
        port = pack_port(server.protocol, server.port)
        return pack_ip(server.ip) + port in self.servers or (server.ip in self.node_ips and port in self.node_ports)
