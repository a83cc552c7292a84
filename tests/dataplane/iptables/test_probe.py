"""The probe: what is missing is named, with the module to load, and nothing is left behind."""

from __future__ import annotations

import pytest

from kproxy.dataplane.iptables.probe import FEATURES, probe
from kproxy.errors import FeatureMissing, KernelError, LockHeld, PermissionMissing
from kproxy.plan.family import AFFINITY
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.service import PROTOCOLS
from tests.dataplane.iptables.fake_tool import FakeTool

#: What modprobe takes (file names below net/netfilter, net/ipv4/netfilter and net/ipv6/netfilter of the kernel).
MODULES = {
    "match comment": "xt_comment",
    "match conntrack": "xt_conntrack",
    "match addrtype": "xt_addrtype",
    "match mark": "xt_mark",
    "match statistic": "xt_statistic",
    "match tcp": "xt_tcpudp",
    "match udp": "xt_tcpudp",
    "target MARK": "xt_mark",
    "target MASQUERADE": "xt_MASQUERADE",
    "target DNAT": "xt_nat",
    "target REJECT": "ipt_REJECT",
}


def distinctive(name: str) -> str:
    """Text that only the rule of this feature holds."""
    kind, _, what = name.partition(" ")
    return f"-m {what} " if kind == "match" else f"-j {what} "


@pytest.mark.parametrize("family", FAMILIES)
def test_all_is_there(family: Family) -> None:
    tool = FakeTool(family)
    assert probe(tool) == {}
    assert tool.kernel.user_chains() == {}
    assert len(tool.restores) == 2, "all in one go, and away with it"
    to = "127.0.0.1:1" if family is Family.IPV4 else "[::1]:1"
    assert any(f"--to-destination {to}" in line for line in tool.restores[0].lines)


def test_every_match_and_target_in_use_is_tried() -> None:
    tried = {feature.name for feature in FEATURES}
    assert tried == {*MODULES, "match sctp", "match recent"}


def test_the_planner_knows_what_can_be_done_without_by_the_same_names() -> None:
    assert {feature.only_for for feature in FEATURES} == {"", "SCTP", AFFINITY}
    assert "SCTP" in PROTOCOLS


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", list(MODULES))
def test_what_kproxy_needs_is_named_with_its_module(name: str, family: Family) -> None:
    tool = FakeTool(family)
    module = MODULES[name] if family is Family.IPV4 else MODULES[name].replace("ipt_", "ip6t_")
    tool.kernel.poison = {distinctive(name)}
    with pytest.raises(FeatureMissing) as caught:
        probe(tool)
    text = str(caught.value)
    assert f"{family} iptables (nft) has no {name}" in text
    assert module in text.split(" - ")[-1].split(), "the remedy is something that modprobe takes"
    assert tool.kernel.user_chains() == {}


@pytest.mark.parametrize(
    ("missing", "unsupported"),
    [
        ({"-m sctp "}, {"SCTP"}),
        ({"-m recent "}, {"session affinity"}),
        ({"-m sctp ", "-m recent "}, {"SCTP", "session affinity"}),
    ],
)
def test_what_can_be_done_without(missing: set[str], unsupported: set[str]) -> None:
    tool = FakeTool(Family.IPV6)
    tool.kernel.poison = missing
    found = probe(tool)
    assert found.keys() == unsupported
    assert all(why.startswith("IPv6 iptables (nft) has no match ") for why in found.values())
    assert tool.kernel.user_chains() == {}


@pytest.mark.parametrize("error", [PermissionMissing("no"), LockHeld("kubelet has it")])
def test_these_are_no_missing_features(error: KernelError) -> None:
    tool = FakeTool()
    tool.fail_next = error
    with pytest.raises(type(error)) as caught:
        probe(tool)
    assert caught.value is error
    assert tool.kernel.user_chains() == {}


def test_what_an_earlier_probe_left_is_overwritten() -> None:
    tool = FakeTool()
    tool.kernel.restore(["*nat", ":KUBE-PROXY-PROBE - [0:0]", "-A KUBE-PROXY-PROBE -j ACCEPT", "COMMIT"])
    assert probe(tool) == {}
    assert tool.kernel.user_chains() == {}
