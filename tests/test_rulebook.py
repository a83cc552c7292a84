"""The rule book: its examples are what the program makes, and the real tools take all of it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables.binaries import VARIANTS, find_binaries
from kproxy.dataplane.nftables.reader import read_table
from kproxy.dataplane.nftables.writer import commit
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.ipvs.filter import IPVS
from kproxy.plan.nftables.layout import TABLE, LayoutOptions, base_table
from kproxy.plan.nftables.transaction import AddChain, AddSet, AddTable, Transaction
from kproxy.state.addresses import FAMILIES, Family
from tests.lab import Namespace, Run
from tests.netlink.netns import PrivateNetns
from tests.plan.nftables.nft import readable
from tests.rulebook import (
    BASE_HEADER,
    EXAMPLES,
    FILES,
    IPVS_BASE,
    IPVS_FILES,
    NFT_FILES,
    SERVER_FILES,
    ipvs_rules_of,
    nft_rules_of,
    nft_skeleton,
    rules_of,
    servers_of,
    skeleton,
)
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from pathlib import Path

    from kproxy.plan.nftables.model import Snapshot, Table
    from kproxy.plan.nftables.transaction import Operation

BASE = EXAMPLES.parent / "nftables" / "base.nft"
NAMES = sorted(path.name for path in EXAMPLES.iterdir())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_example_is_what_the_program_makes(name: str, family: Family) -> None:
    written = (EXAMPLES / name / FILES[family]).read_text(encoding="utf-8")
    assert written == rules_of(EXAMPLES / name, family), "run `make rules` and look at the difference"


@pytest.mark.root
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_real_tools_take_it(family: Family, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    binaries = find_binaries(family, variant)
    assert binaries is not None
    with Run() as run:
        namespace = Namespace(run, "rulebook")
        namespace.run(binaries.restore, "--noflush", stdin=skeleton(family))
        for name in NAMES:
            rules = (EXAMPLES / name / FILES[family]).read_text(encoding="utf-8")
            namespace.run(binaries.restore, "--noflush", stdin=rules)
        assert "KUBE-SVC-" in namespace.run(binaries.save, "-t", "nat")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_nft_example_is_what_the_program_makes(name: str, family: Family) -> None:
    written = (EXAMPLES / name / NFT_FILES[family]).read_text(encoding="utf-8")
    assert written == nft_rules_of(EXAMPLES / name, family), "run `make rules` and look at the difference"


@pytest.mark.root
@pytest.mark.parametrize("family", FAMILIES)
def test_nft_takes_the_examples(family: Family) -> None:
    for name in NAMES:
        example = (EXAMPLES / name / NFT_FILES[family]).read_text(encoding="utf-8")
        with PrivateNetns() as netns:
            netns.tool("nft", "-f", "-", stdin=readable(nft_skeleton(family)) + example)
            assert "shop/web:http" in netns.tool("nft", "list", "ruleset")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_ipvs_example_is_what_the_program_makes(name: str, family: Family) -> None:
    for file, make in ((SERVER_FILES[family], servers_of), (IPVS_FILES[family], ipvs_rules_of)):
        written = (EXAMPLES / name / file).read_text(encoding="utf-8")
        assert written == make(EXAMPLES / name, family), "run `make rules` and look at the difference"


def test_the_ipvs_table_is_what_the_program_makes() -> None:
    written = IPVS_BASE.read_text(encoding="utf-8")
    assert written == BASE_HEADER + nft_skeleton(Family.IPV4, IPVS), "run `make rules` and look at the difference"


@pytest.mark.root
@pytest.mark.parametrize("family", FAMILIES)
def test_nft_takes_the_ipvs_examples(family: Family) -> None:
    for name in NAMES:
        example = (EXAMPLES / name / IPVS_FILES[family]).read_text(encoding="utf-8")
        with PrivateNetns() as netns:
            netns.tool("nft", "-f", "-", stdin=readable(nft_skeleton(family, IPVS)) + example)
            assert "hook output priority -99" in netns.tool("nft", "list", "ruleset")


@pytest.mark.root
@pytest.mark.uml
@needs_ipvs
@pytest.mark.parametrize("family", FAMILIES)
def test_ipvsadm_takes_the_examples(family: Family) -> None:
    for name in NAMES:
        example = (EXAMPLES / name / SERVER_FILES[family]).read_text(encoding="utf-8")
        with PrivateNetns() as netns:
            netns.tool("ipvsadm", "-R", stdin=example)
            assert sorted(netns.tool("ipvsadm", "-Sn").splitlines()) == sorted(example.splitlines())


@pytest.mark.root
@pytest.mark.parametrize("family", FAMILIES)
def test_base_nft_is_what_the_program_writes(family: Family) -> None:
    """Compared as the kernel holds it: sets, hooks, and the expressions of every rule."""
    options = LayoutOptions()
    text = BASE.read_text(encoding="utf-8")
    if family is Family.IPV6:
        text = re.sub(r"\bip\b(?! for ip)", "ip6", text)
    with PrivateNetns() as netns:
        netns.tool("nft", "-f", "-", stdin=readable(text))
        snapshot, listed = netns.run(lambda: _read(family)), netns.tool("nft", "list", "ruleset")
    assert snapshot is not None
    written, wanted = snapshot.table, base_table(family, options)
    assert written.comment == wanted.comment
    assert set(written.sets) == set(wanted.sets)
    by_nft = {chain.name: chain for chain in written.chains}
    # For an interval set nft swaps the bytes of a protocol, which is one byte. So here, what is listed has to do.
    by_nft["firewall-check"] = next(chain for chain in wanted.chains if chain.name == "firewall-check")
    assert by_nft == {chain.name: chain for chain in wanted.chains}
    with PrivateNetns() as netns:
        netns.run(lambda: _write(wanted))
        assert readable(netns.tool("nft", "list", "ruleset")) == readable(listed)


def _write(table: Table) -> None:
    made: list[Operation] = [AddTable(table.comment), *map(AddSet, table.sets), *map(AddChain, table.chains)]
    with NetlinkSocket() as netlink:
        commit(netlink, Transaction(table.family, table.name, tuple(made)))


def _read(family: Family) -> Snapshot | None:
    with NetlinkSocket() as netlink:
        return read_table(netlink, family, TABLE)
