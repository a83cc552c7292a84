"""What another proxy left and does not go at once: tried again, told once. What goes is tried in network namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane import leftovers
from kproxy.dataplane.iptables.binaries import Binaries
from kproxy.dataplane.iptables.leftovers import Removed
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.dataplane.ipvs.letting_go import LetGo
from kproxy.dataplane.leftovers import ATTEMPTS, Leftovers
from kproxy.errors import KernelError, LockHeld
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD = LockHeld("iptables-restore: the xtables lock is held by kube-proxy (pid 7)")


class Node:
    """A node with chains of kube-proxy in both families, and its ipsets."""

    def __init__(self) -> None:
        self.chains = dict.fromkeys(FAMILIES, 3)
        self.sets = 2
        self.failing: set[Family] = set()

    def remove_chains(self, tool: IptablesTool, *, only_ipvs: bool) -> Removed:
        assert not only_ipvs
        if tool.family in self.failing:
            raise HELD
        removed, self.chains[tool.family] = self.chains[tool.family], 0
        return Removed(removed, {})

    def remove_sets(self) -> Iterator[str]:
        if any(self.chains.values()):
            raise KernelError("rules of somebody else use the ipsets")
        if self.sets:
            yield f"{self.sets} ipsets"
        self.sets = 0


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node()
    tools = [IptablesTool(Binaries(family, "legacy", "", "", "")) for family in FAMILIES]
    replaced: dict[str, Callable[..., object]] = {
        "remove_tables": lambda _: [],
        "let_go_of_ipvs": lambda _: LetGo([], 0),
        "installed_tools": lambda: tools,
        "remove_chains": made.remove_chains,
        "remove_kube_proxy_sets": made.remove_sets,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(leftovers, name, function)
    return made


def test_chains_go_when_the_lock_comes_free(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Old chains would go on sending connections to endpoints that are gone."""
    caplog.set_level("INFO")
    left = Leftovers("nftables")
    node.failing = {Family.IPV4}
    assert left.remove()
    assert left.remove()
    assert node.chains == {Family.IPV4: 3, Family.IPV6: 0}
    node.failing = set()
    assert not left.remove()
    assert (node.chains[Family.IPV4], node.sets) == (0, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "took over from another proxy: removed 3 IPv6 chains of iptables (legacy)",
        f"rules of another proxy stay for now: {HELD}",
        "took over from another proxy: removed 3 IPv4 chains of iptables (legacy)",
        "took over from another proxy: removed 2 ipsets",
    ]


def test_it_gives_up_in_the_end(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    left = Leftovers("nftables")
    node.failing = {Family.IPV6}
    for _ in range(ATTEMPTS - 1):
        assert left.remove()
    assert not left.remove()
    assert [record.getMessage() for record in caplog.records] == [
        f"rules of another proxy stay for now: {HELD}",
        f"rules of another proxy stay: {HELD}",
        "rules of another proxy stay: rules of somebody else use the ipsets",
    ]
