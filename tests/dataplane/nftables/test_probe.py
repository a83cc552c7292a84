"""The probe: what it says of a kernel that has everything, of one that lacks a feature, and without permission."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.nftables import probe as probing
from kproxy.dataplane.nftables.probe import probe
from kproxy.errors import FeatureMissing, PermissionMissing
from kproxy.netlink.errors import refusal
from kproxy.plan.family import AFFINITY
from kproxy.plan.nftables.features import features
from kproxy.state.addresses import FAMILIES, Family
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from kproxy.errors import KernelError
    from kproxy.plan.nftables.transaction import Transaction


@pytest.mark.root
@pytest.mark.parametrize("family", FAMILIES)
def test_this_kernel_has_everything_and_nothing_stays(family: Family) -> None:
    with PrivateNetns() as netns:
        assert netns.run(lambda: probe(family)) == {}
        assert netns.tool("nft", "list", "ruleset") == ""


def without(monkeypatch: pytest.MonkeyPatch, name: str, code: int = errno.ENOENT) -> None:
    """Have the kernel refuse one feature, and take all others."""
    lacking = {feature.transaction for feature in features(Family.IPV4) if feature.name == name}
    assert lacking

    def refuse(_: object, transaction: Transaction) -> KernelError | None:
        return refusal("table ip kproxy-probe: add rule to chain probe", code) if transaction in lacking else None

    monkeypatch.setattr(probing, "_refusal", refuse)


def test_a_missing_feature_is_named_with_what_provides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "numgen")
    with pytest.raises(FeatureMissing, match=r"no numgen \(IPv4\).*it takes the module nft_numgen"):
        probe(Family.IPV4)


def test_affinity_can_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "maps that rules fill", errno.EOPNOTSUPP)
    assert probe(Family.IPV4)[AFFINITY] == "nftables in this kernel has no maps that rules fill (IPv4)"


def test_sctp_can_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "maps that rules fill", errno.EOPNOTSUPP)
    monkeypatch.setattr(probing, "_SCTP", probing._SCTP.with_name("not_there"))
    assert "CONFIG_NF_CT_PROTO_SCTP" in probe(Family.IPV4)["SCTP"]


def test_a_missing_permission_is_that_and_not_a_missing_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tables of IPv4", errno.EPERM)
    with pytest.raises(PermissionMissing, match="CAP_NET_ADMIN"):
        probe(Family.IPV4)


def test_the_features_of_both_families_are_the_same() -> None:
    ipv4, ipv6 = map(features, FAMILIES)
    assert [one.name.replace("IPv4", "IPv6") for one in ipv4] == [one.name for one in ipv6]
