"""The node kproxy runs on, as its Node object describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.state.addresses import FAMILIES, Family, parse_cidr, parse_ip

if TYPE_CHECKING:
    from kproxy.kube import wire

LABEL_ZONE = "topology.kubernetes.io/zone"
TAINT_AUTOSCALER = "ToBeDeletedByClusterAutoscaler"
_NO_IP = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


class NodeInfo(msgspec.Struct, frozen=True):
    """What planning and health need to know of the own node. `ips` always has both families (loopback if unknown)."""

    name: str
    zone: str = ""
    ips: dict[Family, str] = msgspec.field(default_factory=lambda: dict(_NO_IP))
    pod_cidrs: dict[Family, str] = msgspec.field(default_factory=dict)
    deleting: bool = False
    tainted: bool = False
    known: bool = False

    def __hash__(self) -> int:
        """By name: the dictionaries are not hashable."""
        return hash(self.name)


def node_info(name: str, node: wire.Node | None, bind_address: str = "") -> NodeInfo:
    """Derive the facts from a Node object (None: not seen yet, or gone).

    Node IPs: a concrete `bind_address` first, then the first InternalIP (else ExternalIP) of each family, then
    loopback, as kube-proxy does.
    """
    ips = dict(_NO_IP)
    if node is not None:
        ips |= addresses_of(node)
    if bind_address:
        family, ip = parse_ip(bind_address)
        if ip not in ("0.0.0.0", "::"):
            ips[family] = ip
    if node is None:
        return NodeInfo(name, ips=ips)
    meta, spec = node.metadata, node.spec
    pod_cidrs: dict[Family, str] = {}
    for text in spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else []):
        try:
            family, cidr = parse_cidr(text)
        except ValueError:
            continue
        pod_cidrs.setdefault(family, cidr)
    return NodeInfo(
        name=name,
        zone=(meta.labels or {}).get(LABEL_ZONE, ""),
        ips=ips,
        pod_cidrs=pod_cidrs,
        deleting=meta.deletion_timestamp is not None,
        tainted=any(taint.key == TAINT_AUTOSCALER for taint in spec.taints or ()),
        known=True,
    )


def addresses_of(node: wire.Node) -> dict[Family, str]:
    """Return the address by which a Node is known in each family: its first InternalIP, else its first ExternalIP."""
    found: dict[Family, str] = {}
    addresses = (node.status.addresses if node.status else None) or ()
    for wanted in ("InternalIP", "ExternalIP"):
        for address in addresses:
            if address.type != wanted:
                continue
            try:
                family, ip = parse_ip(address.address)
            except ValueError:
                continue
            found.setdefault(family, ip)
    return {family: found[family] for family in FAMILIES if family in found}
