"""What of the own Node is waited for, and what stays of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.sources.own_node import missing, with_last_facts
from tests.state.objects import NODE, node

if TYPE_CHECKING:
    from kproxy.kube import wire

ADDRESS = [("InternalIP", "192.168.0.1")]
CIDRS = ["10.244.1.0/24", "fd00:10:244:1::/64"]


@pytest.mark.parametrize(
    ("seen", "lacking", "lacking_with_pod_cidrs"),
    [
        (None, "Node node-a", "Node node-a"),
        (node(), "address of Node node-a", "address of Node node-a"),
        (node(addresses=[("Hostname", "node-a")]), "address of Node node-a", "address of Node node-a"),
        (node(addresses=[("InternalIP", "nonsense")]), "address of Node node-a", "address of Node node-a"),
        (node(addresses=ADDRESS), "", "podCIDRs of Node node-a"),
        (node(addresses=[("ExternalIP", "192.0.2.1")]), "", "podCIDRs of Node node-a"),
        (node(addresses=ADDRESS, podCIDRs=CIDRS), "", ""),
        (node(addresses=ADDRESS, podCIDR="10.244.1.0/24"), "", ""),
    ],
)
def test_what_is_missing(seen: wire.Node | None, lacking: str, lacking_with_pod_cidrs: str) -> None:
    assert missing(NODE, seen, pod_cidrs=False) == lacking
    assert missing(NODE, seen, pod_cidrs=True) == lacking_with_pod_cidrs


FULL = node(addresses=ADDRESS, podCIDRs=CIDRS, labels={"zone": "a"}, taints=[{"key": "x"}])


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        (None, None, None),
        (None, FULL, FULL),
        (FULL, None, FULL),
        (node(), FULL, node(addresses=ADDRESS, podCIDRs=CIDRS)),
        (node(podCIDRs=["10.9.0.0/24"]), FULL, node(addresses=ADDRESS, podCIDRs=["10.9.0.0/24"])),
        (node(podCIDR="10.9.0.0/24"), FULL, node(addresses=ADDRESS, podCIDR="10.9.0.0/24")),
        (
            node(addresses=[("InternalIP", "192.168.0.2")]),
            FULL,
            node(addresses=[("InternalIP", "192.168.0.2")], podCIDRs=CIDRS),
        ),
        (FULL, node(addresses=[("InternalIP", "192.168.0.2")], podCIDRs=["10.9.0.0/24"]), FULL),
    ],
)
def test_what_stays(now: wire.Node | None, last: wire.Node | None, expected: wire.Node | None) -> None:
    """Labels and taints are always those of now."""
    assert with_last_facts(now, last) == expected
