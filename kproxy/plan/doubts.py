"""What is legal in a configuration, and yet unlikely to be meant, now that the node's own addresses are known.

Where kube-proxy ends instead (no CIDR at all for the families of the node), this goes on: what it can serve it serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.local_traffic import DetectLocalMode, LocalSettings, local_traffic
from kproxy.plan.localhost_ports import GATE, names_loopback
from kproxy.plan.node_ports import parse_node_port_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo

_NO_PODS = "traffic from outside the cluster to a clusterIP is not masqueraded, and pods are bound by Local policies"


def doubts(
    local: LocalSettings,
    node_port_addresses: Sequence[str],
    node: NodeInfo,
    families: Iterable[Family],
    *,
    loopback_served: bool = True,
) -> Iterator[str]:
    """Yield a line for each doubt, about those of the `families` served that the node has an address of.

    `loopback_served`: node ports on localhost are, where they are asked for.
    """
    if not loopback_served and names_loopback(node_port_addresses):
        yield f"node ports are not served on localhost: that takes --feature-gates {GATE}=true and nftables mode"
    used = [family for family in families if node.ips[family] not in ("127.0.0.1", "::1")]
    everywhere = parse_node_port_addresses(node_port_addresses, node.ips).warnings
    yield from (everywhere[family] for family in used if family in everywhere)
    lacking = [family for family in used if not local_traffic(local, node, family)]
    if not lacking:
        return
    which = "" if lacking == used else f" {' and '.join(lacking)}"
    if local.mode is DetectLocalMode.NODE_CIDR:
        yield f"Node {node.name} has no{which} podCIDR (--detect-local-mode NodeCIDR): {_NO_PODS}"
    else:
        yield f"--cluster-cidr has no{which} CIDR: {_NO_PODS}"
