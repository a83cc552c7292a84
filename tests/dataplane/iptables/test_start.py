"""Starting the iptables mode: which families are served, and what stops the start (reference section 8.5)."""

from __future__ import annotations

import pytest

from kproxy.dataplane import sysctls
from kproxy.dataplane.iptables import start
from kproxy.dataplane.iptables.start import start_iptables
from kproxy.errors import FeatureMissing, KernelError, LockHeld, PermissionMissing
from kproxy.state.addresses import FAMILIES, Family
from tests.dataplane.iptables.fake_tool import FakeTool
from tests.plan.iptables.rig import make_config

V4, V6 = FAMILIES


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> dict[Family, FakeTool | None]:
    """The tools that the start finds; nothing else of this machine is looked at or changed."""
    found: dict[Family, FakeTool | None] = {family: FakeTool(family) for family in FAMILIES}
    monkeypatch.setattr(start, "detect_variant", lambda _: "nft")
    monkeypatch.setattr(start, "_tool", lambda family, _: found[family])
    monkeypatch.setattr(start, "set_sysctls", lambda _: None)
    monkeypatch.setattr(sysctls, "read", lambda _: 0)
    return found


def served() -> list[Family]:
    return [proxier.family for proxier in start_iptables(make_config())]


def _tool(tools: dict[Family, FakeTool | None], family: Family) -> FakeTool:
    tool = tools[family]
    assert tool is not None
    return tool


def test_both_families(tools: dict[Family, FakeTool | None]) -> None:
    assert served() == [V4, V6]
    assert all(tool is not None and tool.kernel.user_chains() == {} for tool in tools.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_one_family_has_no_tools(tools: dict[Family, FakeTool | None], family: Family) -> None:
    tools[family] = None
    assert served() == [other for other in FAMILIES if other is not family]


def test_no_family_has_tools(tools: dict[Family, FakeTool | None]) -> None:
    tools |= {V4: None, V6: None}
    with pytest.raises(FeatureMissing, match="iptables-nft-restore is not installed - install the package iptables"):
        served()


def test_a_kernel_without_nat_for_ipv6_serves_ipv4(tools: dict[Family, FakeTool | None]) -> None:
    """Dual stack is used where both families are usable, no matter what the cluster is configured for."""
    _tool(tools, V6).kernel.poison = {"DNAT"}
    assert served() == [V4]


def test_what_ipv4_can_not_do_stops_the_start(tools: dict[Family, FakeTool | None]) -> None:
    for family in FAMILIES:
        _tool(tools, family).kernel.poison = {"-m statistic "}
    with pytest.raises(FeatureMissing, match="has no match statistic"):
        served()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("error", [PermissionMissing("no"), LockHeld("kubelet has it")])
def test_these_stop_the_start_in_either_family(
    tools: dict[Family, FakeTool | None], family: Family, error: KernelError
) -> None:
    _tool(tools, family).fail_next = error
    with pytest.raises(type(error)):
        served()


def test_what_can_be_done_without_is_handed_on(tools: dict[Family, FakeTool | None]) -> None:
    _tool(tools, V6).kernel.poison = {"-m recent "}
    four, six = start_iptables(make_config())
    assert four.unsupported == {}
    assert list(six.unsupported) == ["session affinity"]


@pytest.mark.parametrize(("liberal", "drops"), [(0, True), (1, False), (None, True)])
def test_invalid_segments_are_dropped_unless_the_kernel_is_liberal(
    tools: dict[Family, FakeTool | None], monkeypatch: pytest.MonkeyPatch, liberal: int | None, drops: bool
) -> None:
    monkeypatch.setattr(sysctls, "read", lambda _: liberal)
    for proxier in start_iptables(make_config()):
        rules = proxier.ruleset.chains["filter", "KUBE-FORWARD"]
        assert any("INVALID" in rule for rule in rules) is drops
