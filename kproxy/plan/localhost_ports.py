"""Node ports on localhost where the kernel does not translate packets to loopback: which are relayed, and to whom.

Behaviour: kube-proxy 1.37's nftables mode with the feature gate KubeProxyNFTablesLocalhostNodePorts. The node ports of
TCP are relayed, for the families whose loopback addresses --nodeport-addresses names (`localhost` or a loopback CIDR;
`all` does not count). Those of other protocols are refused by the node, which has nobody there.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.intent import Verdict
from kproxy.plan.node_ports import parse_node_port_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kproxy.plan.intent import PortIntent
    from kproxy.state.addresses import Family

GATE = "KubeProxyNFTablesLocalhostNodePorts"


class LocalhostPort(msgspec.Struct, frozen=True, gc=False):
    """One relayed node port of one family: the (address, port) of its endpoints, never none.

    With `affinity_s` all clients are one: they stay with an endpoint until none has come for so many seconds.
    """

    port: int
    endpoints: tuple[tuple[str, int], ...]
    affinity_s: int | None = None


def localhost_ports(intents: Iterable[PortIntent]) -> tuple[LocalhostPort, ...]:
    """Return what is relayed for a Service. Under a Local policy that is only what endpoints of this node serve."""
    return tuple(
        LocalhostPort(
            intent.port.node_port,
            tuple((endpoint.ip, endpoint.port) for endpoint in intent.external_endpoints),
            intent.port.affinity_seconds,
        )
        for intent in intents
        if intent.port.node_port and intent.port.protocol == "TCP" and intent.external is Verdict.FORWARD
    )


def names_loopback(node_port_addresses: Sequence[str]) -> frozenset[Family]:
    """Return the families whose loopback addresses the values of --nodeport-addresses name expressly."""
    cidrs = parse_node_port_addresses(node_port_addresses, {}).cidrs
    return frozenset(
        family for family, found in cidrs.items() if any(ipaddress.ip_network(cidr).is_loopback for cidr in found)
    )
