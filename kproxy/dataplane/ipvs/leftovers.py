"""Removes at once what IPVS mode leaves on a node: kproxy's, and kube-proxy's as far as it can be told.

Connections end with it. `kproxy.dataplane.ipvs.letting_go` is for when they must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dataplane.addresses import VIP_LINK, local_addresses
from kproxy.dataplane.ipvs.ipsets import read_kube_proxy_sets
from kproxy.dataplane.ipvs.kernel import IpvsKernel, find_ipvs, find_vip_link
from kproxy.dataplane.nftables.leftovers import remove_tables
from kproxy.dataplane.nftables.reader import read_table
from kproxy.errors import FeatureMissing
from kproxy.netlink.route import NETLINK_ROUTE, delete_link
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.plan.ipvs.filter import DRAINING, SERVED, TABLE
from kproxy.plan.ipvs.ownership import Ownership
from kproxy.plan.nftables.layout import NO_ENDPOINT_NODE_PORTS, NODE_PORTS
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.state.addresses import Family


def remove_ipvs(excluded: tuple[str, ...] = ()) -> Iterator[str]:
    """Remove virtual servers, the VIP link and the table, in this order; yield in words what was removed.

    Foreign virtual servers stay, and those with an address in the CIDRs `excluded`. Raises `KernelError`.
    """
    try:
        message_type = find_ipvs()
    except FeatureMissing:
        return
    local = local_addresses()
    for family in FAMILIES:
        removed = _remove_servers(IpvsKernel(family, message_type), local[family], excluded)
        if removed:
            yield f"{removed} {family} virtual servers"
    yield from remove_link()
    yield from remove_tables([TABLE])


def read_ownership(
    family: Family, vips: tuple[str, ...], node_ips: tuple[str, ...], excluded: tuple[str, ...]
) -> Ownership:
    """Return what tells whose a virtual server is, as it is in the kernel: kproxy's table, and kube-proxy's ipsets.

    Raises `KernelError`.
    """
    with NetlinkSocket() as netlink:
        snapshot = read_table(netlink, family, TABLE)
    elements = snapshot.elements if snapshot else {}
    servers, node_ports = (
        {key for name in names for key in elements.get(name, ())}
        for names in ((SERVED, DRAINING), (NODE_PORTS, NO_ENDPOINT_NODE_PORTS))
    )
    their_servers, their_node_ports = read_kube_proxy_sets(family)
    return Ownership(set(vips), set(node_ips), servers | their_servers, node_ports | their_node_ports, excluded)


def remove_link() -> Iterator[str]:
    """Remove the VIP link with its addresses; yield it in words if it was there. Raises `KernelError`."""
    with NetlinkSocket(NETLINK_ROUTE) as netlink:
        link = find_vip_link(netlink)
        if link is not None:
            raise_refusals(netlink.batch([delete_link(link, VIP_LINK)]))
            yield f"the link {VIP_LINK}"


def _remove_servers(kernel: IpvsKernel, node_ips: tuple[str, ...], excluded: tuple[str, ...]) -> int:
    held = kernel.read_servers()
    if not held:
        return 0
    ours = read_ownership(kernel.family, kernel.read_addresses(), node_ips, excluded).ours(held)
    kernel.delete_servers(sorted(ours))
    return len(ours)
