"""What iptables-restore is given, and what real iptables-save output says when it is read back.

`samples/` holds the output of both variants, in both families, of iptables 1.8.9: one Service with a node port and
affinity, a kubelet's hint, and chains of somebody else. The FORWARD policy there is DROP.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kproxy.plan.iptables.restore import Restore, SavedTable, missing_jumps, parse_save, restore
from kproxy.plan.iptables.skeleton import Jump
from kproxy.rulebook import iptables_skeleton
from kproxy.state.addresses import Family

SAMPLES = sorted(Path(__file__).parent.glob("samples/*.save"))


def sample(path: Path) -> dict[str, SavedTable]:
    return parse_save(path.read_text())


def test_a_restore() -> None:
    made = restore(
        {
            ("nat", "KUBE-A"): ("-j KUBE-B", "-j RETURN"),
            ("nat", "KUBE-B"): (),
            ("filter", "KUBE-C"): ("-j DROP",),
        },
        [("nat", "KUBE-OLD"), ("nat", "KUBE-AA")],
        {"filter": [Jump("INPUT", "-j KUBE-C"), Jump("FORWARD", "-j KUBE-C")], "nat": []},
    )
    assert made.text == (
        "*filter\n"
        ":KUBE-C - [0:0]\n"
        "-I INPUT -j KUBE-C\n"
        "-I FORWARD -j KUBE-C\n"
        "-A KUBE-C -j DROP\n"
        "COMMIT\n"
        "*nat\n"
        ":KUBE-OLD - [0:0]\n"  # descending: the nft variant is quadratic in any other order
        ":KUBE-B - [0:0]\n"
        ":KUBE-AA - [0:0]\n"
        ":KUBE-A - [0:0]\n"
        "-A KUBE-A -j KUBE-B\n"
        "-A KUBE-A -j RETURN\n"
        "-X KUBE-AA\n"
        "-X KUBE-OLD\n"
        "COMMIT\n"
    )
    assert made.lines[3] == "-I FORWARD -j KUBE-C"


def test_nothing_to_do_is_no_text_at_all() -> None:
    assert restore({}) == Restore(())
    assert restore({}, [], {"filter": [], "nat": []}).text == ""


def test_a_table_where_only_a_jump_is_missing() -> None:
    assert restore({}, [], {"nat": [Jump("OUTPUT", "-j A")]}).lines == ("*nat", "-I OUTPUT -j A", "COMMIT")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_reading_real_output(path: Path) -> None:
    saved = sample(path)
    assert set(saved) == {"filter", "nat", "mangle"}
    assert saved["mangle"].user_chains == {"KUBE-PROXY-CANARY"}
    assert saved["filter"].user_chains >= {"FOREIGN", "KUBE-SERVICES", "KUBE-FORWARD"}
    assert not {"INPUT", "FORWARD", "OUTPUT"} & saved["filter"].user_chains
    assert saved["filter"].rules["FORWARD"][-1] == "-j FOREIGN"
    assert saved["filter"].rules["FOREIGN"] == [
        r'-m comment --comment "it\'s -j KUBE-SERVICES, \"quoted\"" -j ACCEPT',
        "-p tcp -m multiport --dports 1,2 -j RETURN",
    ]
    assert saved["nat"].rules["KUBE-IPTABLES-HINT"] == []
    assert {"KUBE-SVC-XPGD46QRK7WJZT7O", "KUBE-EXT-XPGD46QRK7WJZT7O"} <= saved["nat"].user_chains
    assert len(saved["nat"].rules["KUBE-POSTROUTING"]) == 4


def test_the_samples_are_all_there() -> None:
    assert [path.stem for path in SAMPLES] == [
        *("ip6tables-legacy", "ip6tables-nft", "iptables-legacy", "iptables-nft"),
    ]


def test_reading_odd_output() -> None:
    assert parse_save("") == {}
    assert parse_save("# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n") == {}
    saved = parse_save("*nat\n:OUTPUT ACCEPT [12:3456]\n:EMPTY -\n-A OUTPUT\n# Table `x' is incompatible\nCOMMIT\n")
    assert saved == {"nat": SavedTable({"EMPTY"}, {"OUTPUT": [""], "EMPTY": []})}


# Jumps that are there already are not inserted again.


def wanted(path: Path, table: str) -> tuple[Jump, ...]:
    family = Family.IPV6 if path.stem.startswith("ip6") else Family.IPV4
    made = iptables_skeleton(family, mark="0x00004000", localhost_node_ports=True, drop_invalid=True)
    return made[table].jumps


@pytest.mark.parametrize("table", ["filter", "nat", "mangle"])
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_no_jump_is_missing_from_what_we_wrote(path: Path, table: str) -> None:
    assert missing_jumps(sample(path)[table], wanted(path, table)) == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_each_single_jump_is_missed(path: Path) -> None:
    for table in ("filter", "nat"):
        for number, jump in enumerate(wanted(path, table)):
            saved = sample(path)[table]
            rules = saved.rules[jump.chain]
            target = jump.rule.rpartition(" ")[2]
            rules.remove(next(rule for rule in rules if rule.endswith(f" {target}") or rule == f"-j {target}"))
            assert missing_jumps(saved, wanted(path, table)) == [jump], f"number {number} of table {table}"


def test_a_table_that_is_not_there_misses_all() -> None:
    jumps = [Jump("OUTPUT", "-j KUBE-A"), Jump("INPUT", "-j KUBE-A")]
    assert missing_jumps(None, jumps) == jumps
    assert missing_jumps(SavedTable(set(), {}), jumps) == jumps


def test_the_order_of_matches_does_not_matter_but_the_rest_does() -> None:
    jump = Jump("INPUT", '-m conntrack --ctstate NEW -m comment --comment "a b" -j KUBE-A')

    def missed(rule: str) -> bool:
        return missing_jumps(SavedTable(set(), {"INPUT": [rule]}), [jump]) == [jump]

    assert not missed('-m comment --comment "a b" -m conntrack --ctstate NEW -j KUBE-A')
    assert missed('-m comment --comment "a b" -j KUBE-A')
    assert missed('-m conntrack --ctstate NEW -m comment --comment "a c" -j KUBE-A')
    assert missed('-s 10.0.0.0/8 -m conntrack --ctstate NEW -m comment --comment "a b" -j KUBE-A')
    assert missed('! -i lo -m conntrack --ctstate NEW -m comment --comment "a b" -j KUBE-A')


def test_a_comment_of_others_with_a_newline_does_not_stop_a_sync() -> None:
    """Both variants print it as it is (tried with 1.8.9), so the rule is cut in the middle of its quotes."""
    saved = parse_save(
        '*filter\n-A INPUT -m comment --comment "see -j KUBE-A\nand more" -j ACCEPT\n-A INPUT -j KUBE-A\n'
    )
    assert missing_jumps(saved["filter"], [Jump("INPUT", "-j KUBE-A")]) == []
