"""The proxier: one sync after another, with tools that refuse, fail half-way, or find that others were there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables.proxier import CANARY, MAX_LEFT_OUT, IptablesProxier
from kproxy.errors import KernelError, LockHeld, RestoreRefused
from kproxy.plan.family import FamilyPlan
from kproxy.state.addresses import FAMILIES, Family
from kproxy.state.cluster import ClusterState
from tests.dataplane.iptables.fake_tool import FakeTool
from tests.plan.iptables.kernel import FakeKernel
from tests.plan.iptables.rig import make_config
from tests.plan.iptables.test_ruleset import ADDRESSES, ends, new_rig, web
from tests.state.objects import NODE, gone, here

if TYPE_CHECKING:
    from kproxy.dataplane.mode import Synced
    from kproxy.kube import wire
    from kproxy.sources.changes import Change

V4, V6 = FAMILIES


class Bench:
    """A proxier with a fake tool, fed as the syncer feeds it."""

    def __init__(self, family: Family = V4, **tool: bool) -> None:
        self.family = family
        self.tool = FakeTool(family, **tool)
        self.proxier = IptablesProxier(make_config(), self.tool)
        self.state = ClusterState(NODE)
        self.plan = FamilyPlan(family)
        self.present: dict[tuple[str, str], Change] = {}

    def change(self, *changes: Change) -> None:
        self.state.apply(changes)
        self.present |= {(change.kind, change.key): change for change in changes}
        dirty, _ = self.state.take_dirty()
        self.proxier.configure(self.state.node, ADDRESSES[self.family])
        self.plan.update(self.state, dirty)
        for key in dirty:
            self.proxier.set_service(key, self.plan.intents.get(key, ()), self.plan.health_check_node_port(key))

    def load(self, *objects: wire.KubeObject) -> Synced:
        self.change(*map(here, objects))
        return self.proxier.sync()

    def is_right(self, *without: str) -> bool:
        """The kernel holds what a fresh load would write, of all Services but those, and each jump once."""
        fresh = new_rig(self.family)
        fresh.apply(
            change
            for change in self.present.values()
            if change.obj is not None and not (change.kind == "Service" and change.key in without)
        )
        fresh.sync(full=True)
        return self.tool.kernel.tables == fresh.kernel.tables


@pytest.mark.parametrize("family", FAMILIES)
def test_full_then_partial_then_nothing(family: Family) -> None:
    bench = Bench(family)
    first = bench.load(web(1, family), ends(1, "a1", family))
    assert (first.full, first.deleted, first.changed_anything) == (True, 0, True)
    assert sum(first.rules_written.values()) == sum(bench.proxier.count_rules().values())
    assert bench.is_right()
    second = bench.load(ends(1, "a1 b1", family))
    assert (second.full, second.deleted) == (False, 0)
    assert second.written == "2 chains with 5 rules"  # masquerade and two endpoints; two hairpins
    assert second.rules_written == {"filter": 0, "nat": 5, "mangle": 0}
    assert bench.is_right()
    before = len(bench.tool.restores)
    third = bench.proxier.sync()
    assert (third.full, third.written, third.changed_anything) == (False, "", False)
    assert len(bench.tool.restores) == before, "the tool is not even started"


def test_what_goes_is_counted() -> None:
    bench = Bench()
    bench.load(web(1), ends(1, "a1"))
    bench.change(gone(web(1)))
    synced = bench.proxier.sync()
    assert synced.deleted == 1
    assert bench.is_right("ns1/svc1")


def test_a_full_sync_writes_everything_again() -> None:
    bench = Bench()
    first = bench.load(web(1), ends(1, "a1"))
    again = bench.proxier.sync(full=True)
    assert (again.full, again.written) == (True, first.written)
    assert bench.is_right()


def test_the_number_of_rules() -> None:
    bench = Bench()
    bench.load(web(1), ends(1, "a1"), web(2))
    held = dict.fromkeys(("filter", "nat", "mangle"), 0)
    for (table, _), rules in bench.tool.kernel.user_chains().items():
        held[table] += len(rules)
    assert bench.proxier.count_rules() == held


# Others.


@pytest.mark.parametrize("table", ["filter", "nat", "mangle"])
def test_a_flushed_table_is_noticed_and_repaired(table: str) -> None:
    bench = Bench()
    bench.load(web(1), ends(1, "a1"))
    assert bench.proxier.intact()
    bench.tool.kernel.tables[table] = FakeKernel().tables[table]
    assert not bench.proxier.intact()
    bench.proxier.sync(full=True)
    assert bench.proxier.intact()
    assert bench.is_right()


def test_a_look_that_fails_is_no_flush() -> None:
    bench = Bench()
    bench.load()
    bench.tool.fail_next = LockHeld("somebody has it")
    with pytest.raises(LockHeld):
        bench.proxier.intact()


def test_before_the_first_sync_nothing_is_there() -> None:
    assert not Bench().proxier.intact()
    assert CANARY == "KUBE-PROXY-CANARY"


def test_a_jump_that_somebody_took_away_comes_back_with_a_full_sync() -> None:
    bench = Bench()
    bench.load(web(1), ends(1, "a1"))
    jumps = list(bench.tool.kernel.tables["nat"]["PREROUTING"])
    bench.tool.kernel.tables["nat"]["PREROUTING"] = ["-j ACCEPT"]
    bench.proxier.sync(full=True)
    assert bench.tool.kernel.tables["nat"]["PREROUTING"] == [*jumps, "-j ACCEPT"]


# Failures.


def test_after_a_failure_the_next_sync_is_full() -> None:
    bench = Bench()
    bench.load(web(1), ends(1, "a1"))
    bench.change(here(ends(1, "b1")))
    bench.tool.fail_next = LockHeld("somebody has it")
    with pytest.raises(LockHeld):
        bench.proxier.sync()
    synced = bench.proxier.sync()
    assert synced.full
    assert bench.is_right()
    assert not bench.proxier.sync().full


def test_a_save_that_fails_changes_nothing() -> None:
    bench = Bench()
    bench.tool.fail_next = KernelError("no")
    with pytest.raises(KernelError):
        bench.load(web(1))
    assert bench.tool.kernel.user_chains() == {}
    bench.proxier.sync()
    assert bench.is_right()


def test_half_a_restore_is_repaired() -> None:
    """The filter table is in the kernel when the nat table is refused."""
    bench = Bench()
    bench.load()
    bench.change(here(web(1)), here(web(2)), here(ends(2, "a1")))
    bench.tool.kernel.poison = {"hairpin"}  # in no Service's rules
    bench.tool.kernel.tables["nat"] = FakeKernel().tables["nat"]
    with pytest.raises(RestoreRefused):
        bench.proxier.sync(full=True)
    assert not bench.is_right()
    bench.tool.kernel.poison = set()
    bench.change(gone(web(1)))
    bench.proxier.sync()
    assert bench.is_right()


# A Service whose rules the kernel refuses.


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_left_out_and_named_and_the_others_go_on(family: Family) -> None:
    bench = Bench(family)
    bench.tool.kernel.poison = {'"ns1/svc2 '}
    synced = bench.load(*(web(n, family) for n in (1, 2, 3)), *(ends(n, "a1", family) for n in (1, 2, 3)))
    assert synced.full
    assert list(bench.proxier.refused) == ["ns1/svc2"]
    assert str(bench.proxier.refused["ns1/svc2"]) == "Service ns1/svc2: iptables-restore: unknown match; skipped"
    assert bench.is_right("ns1/svc2")
    assert not bench.proxier.sync().changed_anything, "it is not tried again by itself"


def test_several_are_left_out_in_one_sync() -> None:
    bench = Bench()
    bench.tool.kernel.poison = {'"ns1/svc2 ', '"ns1/svc5 '}
    bench.load(*(web(n) for n in range(1, 8)), *(ends(n, "a1") for n in range(1, 8)))
    assert sorted(bench.proxier.refused) == ["ns1/svc2", "ns1/svc5"]
    assert bench.is_right("ns1/svc2", "ns1/svc5")


def test_one_that_was_served_before_is_taken_away() -> None:
    bench = Bench()
    bench.load(web(1), ends(1, "a1"), web(2), ends(2, "a1"))
    bench.tool.kernel.poison = {"10.180.1.1:8080"}
    bench.change(here(ends(2, "b1")))
    bench.proxier.sync()
    assert list(bench.proxier.refused) == ["ns1/svc2"]
    assert bench.is_right("ns1/svc2")


def test_it_is_tried_again_when_it_changes() -> None:
    bench = Bench()
    bench.tool.kernel.poison = {"10.180.1.1:8080"}
    bench.load(web(1), ends(1, "b1"), web(2), ends(2, "a1"))
    assert list(bench.proxier.refused) == ["ns1/svc1"]
    bench.load(ends(1, "a2"))
    assert bench.proxier.refused == {}
    assert bench.is_right()


def test_a_rule_that_is_no_service_s_is_an_error() -> None:
    bench = Bench()
    bench.tool.kernel.poison = {"MASQUERADE"}
    with pytest.raises(RestoreRefused, match="unknown match"):
        bench.load(web(1), ends(1, "a1"))
    assert bench.proxier.refused == {}
    bench.tool.kernel.poison = set()
    bench.proxier.sync()
    assert bench.is_right()


def test_a_tool_that_names_no_line() -> None:
    """The legacy variant names the COMMIT when the kernel refuses: nobody can be left out then."""
    bench = Bench(names_line=False)
    bench.tool.kernel.poison = {'"ns1/svc2 '}
    with pytest.raises(RestoreRefused):
        bench.load(web(1), web(2), ends(2, "a1"))
    assert bench.proxier.refused == {}


def test_when_too_many_are_refused_the_cause_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.dataplane.iptables.proxier.MAX_LEFT_OUT", 3)
    bench = Bench()
    bench.tool.kernel.poison = {"DNAT --to-destination"}
    with pytest.raises(RestoreRefused):
        bench.load(*(web(n) for n in range(5)), *(ends(n, "a1") for n in range(5)))
    assert MAX_LEFT_OUT == 100
