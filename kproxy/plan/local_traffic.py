"""How a node tells traffic of its own pods ("local") from the rest: --detect-local-mode.

It decides which clusterIP traffic is masqueraded, and which pods are short-circuited past a Local policy.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from kproxy.state.addresses import Family
    from kproxy.state.node import NodeInfo


class DetectLocalMode(enum.StrEnum):
    """kube-proxy's names of the modes."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class LocalTraffic(msgspec.Struct, frozen=True, gc=False):
    """A detector for one family: exactly one field is set; all empty means that nothing can be told (no detector)."""

    cidr: str = ""
    interface: str = ""
    interface_prefix: str = ""

    def __bool__(self) -> bool:
        """Tell whether there is a detector at all."""
        return bool(self.cidr or self.interface or self.interface_prefix)


class LocalSettings(msgspec.Struct, frozen=True, gc=False):
    """The flags: --detect-local-mode, --cluster-cidr (one per family), --pod-bridge-interface and its brother."""

    mode: DetectLocalMode = DetectLocalMode.CLUSTER_CIDR
    cluster_cidrs: tuple[tuple[Family, str], ...] = ()
    bridge_interface: str = ""
    interface_name_prefix: str = ""


def local_traffic(settings: LocalSettings, node: NodeInfo, family: Family) -> LocalTraffic:
    """Return the detector of one family. Without a CIDR of that family there is none."""
    match settings.mode:
        case DetectLocalMode.CLUSTER_CIDR:
            return LocalTraffic(cidr=dict(settings.cluster_cidrs).get(family, ""))
        case DetectLocalMode.NODE_CIDR:
            return LocalTraffic(cidr=node.pod_cidrs.get(family, ""))
        case DetectLocalMode.BRIDGE_INTERFACE:
            return LocalTraffic(interface=settings.bridge_interface)
        case DetectLocalMode.INTERFACE_NAME_PREFIX:
            return LocalTraffic(interface_prefix=settings.interface_name_prefix)
