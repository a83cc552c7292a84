from __future__ import annotations

import pytest

from kproxy.plan.doubts import doubts
from kproxy.plan.local_traffic import DetectLocalMode, LocalSettings
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.node import NodeInfo

V4, V6 = FAMILIES
IPS = {V4: "192.0.2.1", V6: "2001:db8::1"}
CIDRS = {V4: "10.244.0.0/16", V6: "fd00:10:244::/48"}
CONSEQUENCE = "traffic from outside the cluster to a clusterIP is not masqueraded, and pods are bound by Local policies"


def node(*families: Family, pod_cidrs: tuple[Family, ...] = ()) -> NodeInfo:
    loopback = {V4: "127.0.0.1", V6: "::1"}
    own = {family: IPS[family] for family in families}
    return NodeInfo("node-a", ips={**loopback, **own}, pod_cidrs={family: CIDRS[family] for family in pod_cidrs})


def cluster(*families: Family) -> LocalSettings:
    return LocalSettings(cluster_cidrs=tuple((family, CIDRS[family]) for family in families))


NODE_CIDR = LocalSettings(DetectLocalMode.NODE_CIDR)
BRIDGE = LocalSettings(DetectLocalMode.BRIDGE_INTERFACE, bridge_interface="cbr0")


@pytest.mark.parametrize(
    ("local", "addresses", "own", "said"),
    [
        (cluster(V4, V6), (), node(V4, V6), []),
        (cluster(V4), (), node(V4), []),
        (cluster(V6), (), node(V6), []),
        (cluster(), (), node(V4, V6), [f"--cluster-cidr has no CIDR: {CONSEQUENCE}"]),
        (cluster(V4), (), node(V4, V6), [f"--cluster-cidr has no IPv6 CIDR: {CONSEQUENCE}"]),
        (cluster(V4), (), node(V6), [f"--cluster-cidr has no CIDR: {CONSEQUENCE}"]),
        (BRIDGE, (), node(V4, V6), []),
        (NODE_CIDR, (), node(V4, V6, pod_cidrs=(V4, V6)), []),
        (
            NODE_CIDR,
            (),
            node(V4, V6, pod_cidrs=(V6,)),
            [f"Node node-a has no IPv4 podCIDR (--detect-local-mode NodeCIDR): {CONSEQUENCE}"],
        ),
        (cluster(V4, V6), ("192.0.2.0/24", "2001:db8::/64"), node(V4, V6), []),
        (cluster(V4), ("192.0.2.0/24",), node(V4), []),
        (
            cluster(V4, V6),
            ("192.0.2.0/24",),
            node(V4, V6),
            ["--nodeport-addresses 192.0.2.0/24 has no IPv6 address: node ports are served on every IPv6 address"],
        ),
        (cluster(V4), ("primary",), node(V4), []),
    ],
)
def test_what_is_doubted(local: LocalSettings, addresses: tuple[str, ...], own: NodeInfo, said: list[str]) -> None:
    assert list(doubts(local, addresses, own, FAMILIES)) == said


def test_a_family_that_is_not_served_is_not_doubted() -> None:
    assert list(doubts(cluster(V4), (), node(V4, V6), (V4,))) == []


def test_a_node_that_is_not_known_is_not_doubted() -> None:
    assert list(doubts(cluster(), ("192.0.2.0/24",), node(), FAMILIES)) == []


@pytest.mark.parametrize(("addresses", "doubted"), [(("localhost",), True), (("all",), False), (("::1/128",), True)])
def test_node_ports_on_localhost_that_nobody_serves(addresses: tuple[str, ...], doubted: bool) -> None:
    said = list(doubts(BRIDGE, addresses, node(), FAMILIES, loopback_served=False))
    assert bool(said) is doubted
    assert list(doubts(BRIDGE, addresses, node(), FAMILIES)) == []
    if doubted:
        assert "--feature-gates KubeProxyNFTablesLocalhostNodePorts=true" in said[0]
