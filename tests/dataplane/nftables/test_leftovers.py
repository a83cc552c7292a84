"""Tables of kproxy and kube-proxy are removed, those of others are not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane import leftovers
from kproxy.dataplane.ipvs.letting_go import LetGo
from kproxy.dataplane.leftovers import Leftovers
from kproxy.dataplane.nftables.leftovers import remove_tables
from kproxy.errors import KernelError
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

TABLES = """\
table ip kproxy { map m { type ipv4_addr : verdict; elements = { 10.0.0.1 : goto c } }; chain c { accept; }; }
table ip6 kproxy { chain c { type nat hook prerouting priority dstnat; }; }
table ip kube-proxy { chain c { type nat hook prerouting priority dstnat; }; }
table inet kube-proxy { chain other { }; }
table ip foreign { chain c { }; }
"""
CHAINS = "*nat\n:KUBE-SERVICES - [0:0]\n:OTHER - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as netns:
        netns.tool("nft", "-f", "-", stdin=TABLES)
        yield netns


def tables(netns: PrivateNetns) -> list[str]:
    """Those that are not made by the nft variant of iptables."""
    listed = netns.tool("nft", "list", "tables").splitlines()
    return [line.removeprefix("table ") for line in listed if not line.endswith((" nat", " filter", " mangle"))]


def test_tables_are_removed_by_name_in_the_families_of_services(netns: PrivateNetns) -> None:
    removed = netns.run(lambda: remove_tables(["kproxy", "kube-proxy"]))
    assert removed == ["table ip kproxy", "table ip6 kproxy", "table ip kube-proxy"]
    assert tables(netns) == ["inet kube-proxy", "ip foreign"]
    assert netns.run(lambda: remove_tables(["kproxy", "kube-proxy"])) == []


def test_the_nftables_mode_takes_over_from_kube_proxy_and_from_iptables(
    netns: PrivateNetns, caplog: pytest.LogCaptureFixture
) -> None:
    netns.tool("iptables-nft-restore", "--noflush", stdin=CHAINS)
    caplog.set_level("INFO")
    assert not netns.run(Leftovers("nftables").remove)
    assert tables(netns) == ["ip kproxy", "ip6 kproxy", "inet kube-proxy", "ip foreign"]
    saved = netns.tool("iptables-nft-save")
    assert "KUBE-" not in saved
    assert ":OTHER" in saved
    assert [record.getMessage() for record in caplog.records] == [
        "took over from another proxy: removed table ip kube-proxy",
        "took over from another proxy: removed 1 IPv4 chains of iptables (nft)",
    ]


def test_the_iptables_mode_takes_over_from_the_nftables_modes(netns: PrivateNetns) -> None:
    netns.tool("iptables-nft-restore", "--noflush", stdin=CHAINS)
    assert not netns.run(Leftovers("iptables").remove)
    assert tables(netns) == ["inet kube-proxy", "ip foreign"]
    assert "-A PREROUTING -j KUBE-SERVICES" in netns.tool("iptables-nft-save")


def test_what_fails_is_tried_again_and_told_once(
    netns: PrivateNetns, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kube-proxy's ipsets say which virtual servers are its own, so they stay as long as those do."""
    netns.tool("ipset", "create", "KUBE-NODE-PORT-TCP", "bitmap:port", "range", "0-65535")
    outcomes: list[LetGo | KernelError] = [KernelError("no"), KernelError("no"), LetGo([], 2), LetGo(["both"], 0)]

    def let_go(_excluded: tuple[str, ...]) -> LetGo:
        outcome = outcomes.pop(0)
        if isinstance(outcome, KernelError):
            raise outcome
        return outcome

    monkeypatch.setattr(leftovers, "let_go_of_ipvs", let_go)
    left = Leftovers("nftables")
    caplog.set_level("INFO")
    assert netns.run(left.remove)
    caplog.clear()
    assert netns.run(left.remove)
    assert not caplog.records
    assert "KUBE-NODE-PORT-TCP" in netns.tool("ipset", "-n", "list")
    assert netns.run(left.remove)
    assert "KUBE-NODE-PORT-TCP" not in netns.tool("ipset", "-n", "list")
    assert not netns.run(left.remove)
    assert [record.getMessage() for record in caplog.records] == [
        "2 virtual servers of another proxy stay until their connections end",
        "took over from another proxy: removed 1 ipsets",
        "took over from another proxy: removed both",
    ]


def test_kproxy_cleanup_says_what_it_removed(netns: PrivateNetns) -> None:
    told = netns.tool(sys.executable, "-m", "kproxy", "cleanup").splitlines()
    assert told[:3] == ["table ip kproxy removed", "table ip6 kproxy removed", "table ip kube-proxy removed"]
    assert tables(netns) == ["inet kube-proxy", "ip foreign"]
