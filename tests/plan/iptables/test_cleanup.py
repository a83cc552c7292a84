"""Cleaning up without any memory: all of ours goes, nothing of others does (reference section 2.10)."""

from __future__ import annotations

import pytest

from kproxy.plan.iptables.cleanup import Cleanup, cleanup
from kproxy.plan.iptables.names import PROBE_CHAIN
from kproxy.plan.iptables.restore import Restore, parse_save
from kproxy.plan.iptables.ruleset import owned
from kproxy.state.addresses import FAMILIES, Family
from tests.plan.iptables.kernel import BUILT_IN, FakeKernel
from tests.plan.iptables.test_ruleset import KUBE_PROXY, big

FOREIGN = """\
*filter
:FOREIGN - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A FORWARD -j FOREIGN
-A FOREIGN -s 10.0.0.0/8 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
*nat
:DOCKER - [0:0]
:KUBE-IPTABLES-HINT - [0:0]
-A PREROUTING -j DOCKER
-A DOCKER -j RETURN
COMMIT
"""
KUBELET = ("filter", "KUBE-FIREWALL")


def run(kernel: FakeKernel) -> Cleanup:
    made = cleanup(parse_save(kernel.save()))
    kernel.restore(made.restore.lines)
    return made


def with_foreign(text: str = FOREIGN) -> FakeKernel:
    kernel = FakeKernel()
    kernel.restore(text.splitlines())
    return kernel


@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_ours_goes_and_nothing_of_others_does(family: Family) -> None:
    rig = big(300, family)
    rig.kernel.restore(FOREIGN.splitlines())
    made = run(rig.kernel)
    assert made.in_use == {}
    left, expected = rig.kernel, with_foreign()
    firewall = left.user_chains().get(KUBELET)
    assert (firewall is not None) is (family is Family.IPV4), "it stays: the kubelet shares it"
    assert {key: rules for key, rules in left.user_chains().items() if key != KUBELET} == expected.user_chains()
    for table, chains in BUILT_IN.items():
        for chain in chains:
            rules = [rule for rule in left.tables[table][chain] if rule != "-j KUBE-FIREWALL"]
            assert rules == expected.tables[table][chain]
    assert run(rig.kernel) == Cleanup(Restore(()), {}), "the second time there is nothing to do"


def test_what_kube_proxy_left_goes_too() -> None:
    kernel = FakeKernel()
    kernel.restore(KUBE_PROXY.splitlines())
    run(kernel)
    assert {chain for _, chain in kernel.user_chains()} == {"DOCKER", "KUBE-MARK-DROP", "KUBE-KUBELET-CANARY"}
    assert kernel.tables["nat"]["PREROUTING"] == ["-m addrtype --dst-type LOCAL -j DOCKER"]


def test_only_what_kube_proxys_ipvs_mode_has_alone() -> None:
    """The iptables mode writes over the chains whose names are its own too."""
    left = """\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
COMMIT
*filter
:KUBE-IPVS-FILTER - [0:0]
-A INPUT -j KUBE-IPVS-FILTER
COMMIT
"""
    kernel = with_foreign(left)
    made = cleanup(parse_save(kernel.save()), only_ipvs=True)
    kernel.restore(made.restore.lines)
    saved = parse_save(kernel.save())
    assert saved["nat"].user_chains == {"KUBE-SERVICES", "KUBE-MARK-MASQ"}
    assert saved["nat"].rules["PREROUTING"] == ["-j KUBE-SERVICES"]
    assert not saved["filter"].user_chains
    assert not made.in_use


def test_a_node_without_any_rules() -> None:
    assert cleanup({}) == Cleanup(Restore(()), {})
    assert run(FakeKernel()) == Cleanup(Restore(()), {})
    assert run(with_foreign()).restore.lines == ()


def test_a_chain_that_somebody_else_uses_is_emptied_and_named() -> None:
    kernel = big(1).kernel
    kernel.restore(["*nat", ":FOREIGN - [0:0]", "-A FOREIGN -p tcp -j KUBE-SERVICES", "COMMIT"])
    kernel.restore(["*filter", ":OTHER - [0:0]", "-A OTHER -g KUBE-FORWARD", "COMMIT"])
    made = run(kernel)
    assert made.in_use == {"KUBE-SERVICES": "FOREIGN", "KUBE-FORWARD": "OTHER"}
    left = kernel.user_chains()
    assert {key for key in left if owned(*key)} == {("nat", "KUBE-SERVICES"), ("filter", "KUBE-FORWARD")}
    assert left["nat", "KUBE-SERVICES"] == left["filter", "KUBE-FORWARD"] == ()
    assert left["nat", "FOREIGN"] == ("-p tcp -j KUBE-SERVICES",)


def test_every_jump_from_a_built_in_chain_goes() -> None:
    """Whoever made it: a chain that is jumped to can't be deleted."""
    kernel = big(1).kernel
    kernel.restore(["*nat", "-A INPUT -s 10.0.0.0/8 -j KUBE-MARK-MASQ", "-A INPUT -g KUBE-SERVICES", "COMMIT"])
    run(kernel)
    assert kernel.tables["nat"]["INPUT"] == []


def test_a_comment_of_others_is_not_taken_for_a_jump() -> None:
    kernel = big(1).kernel
    rule = '-m comment --comment "see -j KUBE-SERVICES for this" -j ACCEPT'
    kernel.restore(["*filter", f"-A FORWARD {rule}", "COMMIT"])
    run(kernel)
    assert rule in kernel.tables["filter"]["FORWARD"]


def test_a_comment_of_others_does_not_hide_a_jump() -> None:
    kernel = big(1).kernel
    kernel.restore(["*filter", '-A FORWARD -m comment --comment "was -j LOG once" -j KUBE-FORWARD', "COMMIT"])
    run(kernel)
    assert kernel.tables["filter"]["FORWARD"] == []
    assert not [key for key in kernel.user_chains() if owned(*key)]


def test_a_probe_that_was_cut_short_leaves_nothing_behind() -> None:
    kernel = FakeKernel()
    for table in ("filter", "nat"):
        kernel.restore([f"*{table}", f":{PROBE_CHAIN} - [0:0]", f"-A {PROBE_CHAIN} -p tcp -j ACCEPT", "COMMIT"])
    run(kernel)
    assert kernel.user_chains() == {}
