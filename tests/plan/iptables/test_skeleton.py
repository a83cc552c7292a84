"""The fixed chains: the rule book's files say what reference sections 2.1, 2.4 and the end of 2.5 say."""

from __future__ import annotations

import itertools

import pytest

from kproxy.errors import FeatureMissing
from kproxy.plan.iptables.names import PROBE_CHAIN
from kproxy.plan.iptables.ruleset import FIXED_CHAINS
from kproxy.plan.iptables.skeleton import TABLES, Jump, TableSkeleton, parse_skeleton
from kproxy.rulebook import iptables_skeleton, read_rules
from kproxy.state.addresses import Family

V4, V6 = Family.IPV4, Family.IPV6
NEW = "-m conntrack --ctstate NEW"
PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
VISIBLE = '-m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES'
FIREWALL = '-m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'

#: Section 2.1, rows 1 to 14, in the order in which they are inserted.
FILTER_JUMPS = [
    Jump("INPUT", f"{NEW} {VISIBLE}"),
    Jump("FORWARD", f"{NEW} {VISIBLE}"),
    Jump("INPUT", '-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS'),
    Jump("FORWARD", f"{NEW} {PORTALS}"),
    Jump("OUTPUT", f"{NEW} {PORTALS}"),
    Jump("FORWARD", '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'),
    Jump("INPUT", f"{NEW} {FIREWALL}"),
    Jump("OUTPUT", f"{NEW} {FIREWALL}"),
    Jump("FORWARD", f"{NEW} {FIREWALL}"),
]
KUBELET_JUMPS = [Jump("INPUT", "-j KUBE-FIREWALL"), Jump("OUTPUT", "-j KUBE-FIREWALL")]
NAT_JUMPS = [
    Jump("OUTPUT", PORTALS),
    Jump("PREROUTING", PORTALS),
    Jump("POSTROUTING", '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'),
]


def skeleton(
    family: Family = V4, *, mark: str = "0x00004000", localhost: bool = True, drop_invalid: bool = True
) -> dict[str, TableSkeleton]:
    return iptables_skeleton(family, mark=mark, localhost_node_ports=localhost, drop_invalid=drop_invalid)


def test_jumps_from_the_built_in_chains() -> None:
    made = skeleton()
    assert list(made["filter"].jumps) == FILTER_JUMPS + KUBELET_JUMPS
    assert list(made["nat"].jumps) == NAT_JUMPS
    assert made["mangle"].jumps == ()


def test_the_order_that_an_empty_table_ends_up_with() -> None:
    """Section 2.1, below the table: each jump goes to the head."""
    order: dict[str, list[str]] = {}
    for jump in skeleton()["filter"].jumps:
        order.setdefault(jump.chain, []).insert(0, jump.rule.rpartition(" ")[2].removeprefix("KUBE-"))
    assert order == {
        "INPUT": ["FIREWALL", "PROXY-FIREWALL", "NODEPORTS", "EXTERNAL-SERVICES"],
        "FORWARD": ["PROXY-FIREWALL", "FORWARD", "SERVICES", "EXTERNAL-SERVICES"],
        "OUTPUT": ["FIREWALL", "PROXY-FIREWALL", "SERVICES"],
    }


def test_fixed_chains_of_the_filter_table() -> None:
    chains = skeleton(mark="0x00000080")["filter"].chains
    assert chains["KUBE-FORWARD"] == (
        "-m conntrack --ctstate INVALID -j DROP",
        '-m comment --comment "kubernetes forwarding rules" -m mark --mark 0x00000080/0x00000080 -j ACCEPT',
        '-m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )
    assert chains["KUBE-FIREWALL"] == (
        '-m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 '
        "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
    )
    empty = {chain for chain, rules in chains.items() if not rules}
    assert empty == {
        *("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"),
        *("KUBE-PROXY-FIREWALL", "KUBE-PROXY-CANARY"),
    }


def test_fixed_chains_of_the_nat_table() -> None:
    chains = skeleton(mark="0x00000080")["nat"].chains
    assert chains["KUBE-MARK-MASQ"] == ("-j MARK --or-mark 0x00000080",)
    assert chains["KUBE-POSTROUTING"] == (
        # The hairpin look-up is kproxy's own (no chain per endpoint marks it before); the rest is kube-proxy's.
        '-m comment --comment "kubernetes hairpin traffic" -m conntrack --ctstate DNAT -j KUBE-SVC-HAIRPIN',
        # In place of kube-proxy's nfacct object localhost_nps_accepted_pkts.
        '-m comment --comment "kubernetes localhost node ports, counted" -m conntrack --ctstate DNAT'
        " --ctorigdst 127.0.0.0/8",
        "-m mark ! --mark 0x00000080/0x00000080 -j RETURN",
        "-j MARK --xor-mark 0x00000080",
        '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    )


def test_a_liberal_conntrack_drops_nothing() -> None:
    assert not any("INVALID" in rule for rule in skeleton(drop_invalid=False)["filter"].chains["KUBE-FORWARD"])


@pytest.mark.parametrize(("family", "localhost"), [(V6, True), (V6, False), (V4, False)])
def test_without_node_ports_on_localhost_the_kubelet_s_chain_is_left_alone(family: Family, localhost: bool) -> None:
    made = skeleton(family, localhost=localhost)["filter"]
    assert "KUBE-FIREWALL" not in made.chains
    assert list(made.jumps) == FILTER_JUMPS


@pytest.mark.parametrize(
    ("family", "localhost", "drop"), list(itertools.product((V4, V6), (True, False), (True, False)))
)
def test_what_is_written_can_be_cleaned_up(family: Family, localhost: bool, drop: bool) -> None:
    """Every fixed chain is known as ours; KUBE-FIREWALL, which the kubelet shares, is the one exception."""
    made = skeleton(family, localhost=localhost, drop_invalid=drop)
    for table in TABLES:
        ours = FIXED_CHAINS[table] | {"KUBE-SVC-HAIRPIN", "KUBE-FIREWALL"}
        assert made[table].chains.keys() <= ours
        assert FIXED_CHAINS[table] - {PROBE_CHAIN} <= made[table].chains.keys()
        assert "KUBE-PROXY-CANARY" in made[table].chains


# The format of the files.

TEXT = """
# A comment with @UNKNOWN@ in it.
*nat
:A - [0:0]
:B - [0:0]
#:if one
-A A -j @TARGET@
#:endif
  -A B -m comment --comment "two words" -j A
#:if two
-I INPUT -j A
#:endif
-I OUTPUT -j B
COMMIT
"""


@pytest.mark.parametrize(
    ("conditions", "rules_of_a", "jumps"),
    [
        ([], (), [Jump("OUTPUT", "-j B")]),
        (["one"], ("-j DROP",), [Jump("OUTPUT", "-j B")]),
        (["one", "two"], ("-j DROP",), [Jump("INPUT", "-j A"), Jump("OUTPUT", "-j B")]),
    ],
)
def test_conditions(conditions: list[str], rules_of_a: tuple[str, ...], jumps: list[Jump]) -> None:
    made = parse_skeleton(TEXT, {"TARGET": "DROP"}, frozenset(conditions))
    assert made.chains == {"A": rules_of_a, "B": ('-m comment --comment "two words" -j A',)}
    assert list(made.jumps) == jumps


def test_what_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match="-X A"):
        parse_skeleton("*nat\n:A - [0:0]\n-X A\nCOMMIT", {}, frozenset())
    with pytest.raises(KeyError):
        parse_skeleton(":A - [0:0]\n-A A -j @NOBODY@", {}, frozenset())


def test_a_file_that_is_missing() -> None:
    with pytest.raises(FeatureMissing, match=r"rule book: iptables/raw\.rules is missing"):
        read_rules("iptables/raw.rules")
