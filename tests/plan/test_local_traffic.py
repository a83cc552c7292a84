"""--detect-local-mode: reference section 8.4."""

from __future__ import annotations

import pytest

from kproxy.plan.local_traffic import DetectLocalMode, LocalSettings, LocalTraffic, local_traffic
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.node import NodeInfo

V4, V6 = FAMILIES
NODE = NodeInfo("node-a", pod_cidrs={V4: "10.244.1.0/24"})
BOTH = ((V4, "10.244.0.0/16"), (V6, "fd00:10:244::/56"))

CASES: list[tuple[str, LocalSettings, Family, LocalTraffic]] = [
    ("ClusterCIDR", LocalSettings(cluster_cidrs=BOTH), V4, LocalTraffic(cidr="10.244.0.0/16")),
    ("ClusterCIDR, IPv6", LocalSettings(cluster_cidrs=BOTH), V6, LocalTraffic(cidr="fd00:10:244::/56")),
    ("ClusterCIDR without one of the family", LocalSettings(cluster_cidrs=BOTH[:1]), V6, LocalTraffic()),
    ("ClusterCIDR without any", LocalSettings(), V4, LocalTraffic()),
    ("NodeCIDR", LocalSettings(DetectLocalMode.NODE_CIDR, BOTH), V4, LocalTraffic(cidr="10.244.1.0/24")),
    ("NodeCIDR without one of the family", LocalSettings(DetectLocalMode.NODE_CIDR, BOTH), V6, LocalTraffic()),
    *(
        (f"BridgeInterface, {family}", LocalSettings(DetectLocalMode.BRIDGE_INTERFACE, BOTH, "cbr0"), family, made)
        for family, made in ((V4, LocalTraffic(interface="cbr0")), (V6, LocalTraffic(interface="cbr0")))
    ),
    *(
        (
            f"InterfaceNamePrefix, {family}",
            LocalSettings(DetectLocalMode.INTERFACE_NAME_PREFIX, BOTH, "cbr0", "veth"),
            family,
            LocalTraffic(interface_prefix="veth"),
        )
        for family in FAMILIES
    ),
]


@pytest.mark.parametrize(
    ("settings", "family", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_detector(settings: LocalSettings, family: Family, expected: LocalTraffic) -> None:
    detector = local_traffic(settings, NODE, family)
    assert detector == expected
    assert bool(detector) is (expected != LocalTraffic())


def test_the_modes_have_kube_proxy_s_names() -> None:
    assert list(DetectLocalMode) == ["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]
