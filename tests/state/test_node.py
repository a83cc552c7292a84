"""What the own Node object says: reference sections 1.1 and 8.5."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.node import NodeInfo, node_info
from tests.state.objects import NODE, node

V4, V6 = FAMILIES
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
ZONE = "topology.kubernetes.io/zone"


def test_a_node_that_nobody_has_seen() -> None:
    assert node_info(NODE, None) == NodeInfo(NODE, ips=LOOPBACK)
    assert not node_info(NODE, None).known


def test_everything_that_is_read() -> None:
    info = node_info(
        NODE,
        node(
            labels={ZONE: "z1", "kubernetes.io/hostname": "x"},
            deleting="2026-01-01T00:00:00Z",
            addresses=[("Hostname", "node-a"), ("InternalIP", "192.168.0.1"), ("InternalIP", "FD00::1")],
            podCIDRs=["10.244.1.0/24", "fd00:10:244:1::/64", "10.9.9.0/24"],
            podCIDR="10.7.7.0/24",
            taints=[{"key": "node.kubernetes.io/unschedulable"}, {"key": "ToBeDeletedByClusterAutoscaler"}],
        ),
    )
    assert info == NodeInfo(
        NODE,
        zone="z1",
        ips={V4: "192.168.0.1", V6: "fd00::1"},
        pod_cidrs={V4: "10.244.1.0/24", V6: "fd00:10:244:1::/64"},
        deleting=True,
        tainted=True,
        known=True,
    )


ADDRESSES: list[tuple[str, list[tuple[str, str]], str, dict[Family, str]]] = [
    # (what, status.addresses, --bind-address, node IPs)
    ("none", [], "", LOOPBACK),
    ("one family", [("InternalIP", "192.168.0.1")], "", {V4: "192.168.0.1", V6: "::1"}),
    (
        "the first InternalIP",
        [("InternalIP", "192.168.0.1"), ("InternalIP", "192.168.0.2")],
        "",
        {V4: "192.168.0.1", V6: "::1"},
    ),
    (
        "InternalIP goes before ExternalIP, whatever the order",
        [("ExternalIP", "203.0.113.1"), ("InternalIP", "192.168.0.1")],
        "",
        {V4: "192.168.0.1", V6: "::1"},
    ),
    ("ExternalIP if there is no other", [("ExternalIP", "203.0.113.1")], "", {V4: "203.0.113.1", V6: "::1"}),
    (
        "the other family's ExternalIP",
        [("InternalIP", "192.168.0.1"), ("ExternalIP", "2001:db8::1")],
        "",
        {V4: "192.168.0.1", V6: "2001:db8::1"},
    ),
    ("names and nonsense", [("Hostname", "10.0.0.1"), ("InternalIP", "web")], "", LOOPBACK),
    ("bind address", [("InternalIP", "192.168.0.1")], "192.168.0.9", {V4: "192.168.0.9", V6: "::1"}),
    ("bind address of one family", [("InternalIP", "fd00::1")], "192.168.0.9", {V4: "192.168.0.9", V6: "fd00::1"}),
    ("0.0.0.0 is no address", [("InternalIP", "192.168.0.1")], "0.0.0.0", {V4: "192.168.0.1", V6: "::1"}),
    (":: is no address", [("InternalIP", "fd00::1")], "::", {V4: "127.0.0.1", V6: "fd00::1"}),
]


@pytest.mark.parametrize(
    ("addresses", "bind", "ips"), [row[1:] for row in ADDRESSES], ids=[row[0] for row in ADDRESSES]
)
def test_node_ips(addresses: list[tuple[str, str]], bind: str, ips: dict[Family, str]) -> None:
    assert node_info(NODE, node(addresses=addresses), bind).ips == ips


def test_the_bind_address_counts_before_the_node_is_seen() -> None:
    assert node_info(NODE, None, "192.168.0.9").ips[V4] == "192.168.0.9"


@pytest.mark.parametrize(
    ("spec", "cidrs"),
    [
        ({}, {}),
        ({"podCIDRs": []}, {}),
        ({"podCIDR": "10.244.1.0/24"}, {V4: "10.244.1.0/24"}),
        ({"podCIDRs": ["nonsense", "fd00::/64"]}, {V6: "fd00::/64"}),
    ],
)
def test_pod_cidrs(spec: dict[str, Any], cidrs: dict[Family, str]) -> None:
    assert node_info(NODE, node(**spec)).pod_cidrs == cidrs


@pytest.mark.parametrize("key", ["node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready"])
def test_a_cordoned_node_is_as_good_as_any(key: str) -> None:
    info = node_info(NODE, node(taints=[{"key": key}], unschedulable=True))
    assert (info.tainted, info.deleting) == (False, False)


def test_old_zone_labels_do_not_count() -> None:
    assert node_info(NODE, node(labels={"failure-domain.beta.kubernetes.io/zone": "z1"})).zone == ""
