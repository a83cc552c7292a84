"""The rendered text given to the real tools, both variants, both families, in network namespaces of their own.

They are the independent parser of what kproxy writes; and the fake kernel of the other tests is held against them.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.dataplane.iptables.binaries import find_binaries
from kproxy.dataplane.iptables.proxier import CANARY
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.plan.iptables.restore import missing_jumps, parse_save
from kproxy.plan.iptables.rule import MAX_COMMENT, comment
from kproxy.plan.iptables.ruleset import owned
from kproxy.rulebook import iptables_skeleton
from kproxy.state.addresses import FAMILIES, Family
from tests.netlink.netns import PrivateNetns
from tests.plan.iptables.kernel import FakeKernel, Refused
from tests.plan.iptables.rig import Rig
from tests.plan.iptables.test_cleanup import FOREIGN
from tests.plan.iptables.test_ruleset import ADDRESSES, VARIANTS, big, ends, make_variant, web
from tests.state.objects import gone, here, node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kproxy.kube import wire

pytestmark = pytest.mark.root

V4, V6 = FAMILIES


class Tools:
    """The tools of one variant and family in a namespace."""

    def __init__(self, netns: PrivateNetns, family: Family, variant: str) -> None:
        self.netns = netns
        self.family = family
        self.program = f"{'iptables' if family is V4 else 'ip6tables'}-{variant}"

    def restore(self, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [f"{self.program}-restore", "-w", "5", "--noflush", *options]
        return self.netns.run(lambda: subprocess.run(command, input=text, capture_output=True, text=True, check=False))

    def save(self) -> str:
        return self.netns.tool(f"{self.program}-save")


@pytest.fixture(params=[(family, variant) for family in FAMILIES for variant in ("nft", "legacy")], ids="-".join)
def tools(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tools]:
    family, variant = request.param
    # The lock file is the host's otherwise; the tools make theirs where the variable says.
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    assert shutil.which(f"iptables-{variant}-restore"), f"iptables-{variant} is not installed"
    with PrivateNetns() as netns:
        yield Tools(netns, family, variant)


def mix(family: Family) -> list[wire.KubeObject]:
    """A Service of every kind, each with endpoints here, elsewhere, here and elsewhere, and none."""
    objects: list[wire.KubeObject] = [node(addresses=[("InternalIP", ADDRESSES[family][0])])]
    number = 0
    for variant in range(len(VARIANTS)):
        for words in ("a1", "b1", "a1 a2 b1", "", "a1!term b1", "a1!dead"):
            objects += [make_variant(number, variant, family), ends(number, words, family)]
            number += 1
    protocols = [{"name": name.lower(), "port": 80, "protocol": name} for name in ("TCP", "UDP", "SCTP")]
    return [*objects, web(number, family, ports=protocols, externalIPs=["192.0.2.5", "2001:db8::5"])]


FLAGS: list[dict[str, Any]] = [
    {},
    {"masquerade_all": True, "iptables_masquerade_bit": 31, "iptables_localhost_nodeports": False},
    {"detect_local_mode": "BridgeInterface", "pod_bridge_interface": "cbr0", "nodeport_addresses": ("primary",)},
    {"detect_local_mode": "InterfaceNamePrefix", "pod_interface_name_prefix": "veth", "cluster_cidr": ()},
    # The longest there is: an interface's name has 15 characters, and the tools count the "+".
    {"detect_local_mode": "InterfaceNamePrefix", "pod_interface_name_prefix": "a" * 14},
]


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: ",".join(flags) or "defaults")
def test_a_wide_mix_of_services_is_taken_and_read_back(tools: Tools, flags: dict[str, Any]) -> None:
    rig = Rig(tools.family, ADDRESSES[tools.family], **flags)
    rig.apply(map(here, mix(tools.family)))
    text = rig.ruleset.difference()[0].text
    for options in (["--test"], []):
        done = tools.restore(text, *options)
        assert (done.returncode, done.stderr) == (0, "")
    saved = parse_save(tools.save())
    held = {
        (table, chain): len(saved[table].rules[chain])
        for table, content in saved.items()
        for chain in content.user_chains
    }
    assert held == {key: len(rules) for key, rules in rig.ruleset.chains.items()}
    skeleton = iptables_skeleton(
        tools.family,
        mark=rig.config.masquerade_mark,
        localhost_node_ports=rig.config.localhost_node_ports and "nodeport_addresses" not in flags,
        drop_invalid=True,
    )
    for table, content in skeleton.items():
        assert missing_jumps(saved.get(table), content.jumps) == []


def test_changes_on_top_of_a_tree_of_chains(tools: Tools) -> None:
    """The fake kernel and the real one take the same restores and end with the same chains."""
    rig = big(300, tools.family)
    twin = Rig(tools.family, ADDRESSES[tools.family])
    twin.apply(here(obj) for n in range(300) for obj in (web(n, tools.family), ends(n, "a1 b1", tools.family)))
    assert tools.restore(twin.ruleset.difference()[0].text).returncode == 0
    for changes in (
        [here(ends(7, "a1 b1 b2", tools.family)), here(web(301, tools.family)), gone(ends(8, ""))],
        [gone(web(n)) for n in range(100)],
        [gone(web(n)) for n in range(100, 302)],
    ):
        rig.apply(changes)
        text = "\n".join(rig.sync()) + "\n"
        done = tools.restore(text)
        assert (done.returncode, done.stderr) == (0, "")
        saved = parse_save(tools.save())
        assert {(table, chain) for table in saved for chain in saved[table].user_chains} == set(
            rig.kernel.user_chains()
        )


# Comments.

HOSTILE = [
    'x" -j ACCEPT -m comment --comment "',
    "x\n-A INPUT -j ACCEPT\nCOMMIT",
    "x\\",
    "\\",
    "`reboot` $(reboot) $HOME ;|&",
    "it's 100% #",
    "tab\tnul\x00del\x7fescape\x1b[2J",
    "wéb 网 \u2028",
    "-j DROP",
    "!",
    " ",
    "x" * (MAX_COMMENT - 1),
    "x" * MAX_COMMENT,
    "x" * 1000,
]


def test_no_comment_breaks_out(tools: Tools) -> None:
    rules = [comment(text) for text in HOSTILE]
    lines = ["*nat", ":KUBE-SVC-T - [0:0]", *(f"-A KUBE-SVC-T {rule} -j RETURN" for rule in rules), "COMMIT", ""]
    done = tools.restore("\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    saved = parse_save(tools.save())
    assert saved["nat"].user_chains == {"KUBE-SVC-T"}
    # The tools escape what shlex leaves alone (\').
    read = [shlex.split(rule.replace("\\'", "'"))[3] for rule in saved["nat"].rules["KUBE-SVC-T"]]
    assert read == [shlex.split(rule)[3] for rule in rules]


# The fake kernel is no kinder than the real one.

BEFORE = ["*nat", ":KUBE-A - [0:0]", ":KUBE-B - [0:0]", "-A KUBE-A -j KUBE-B", "-A OUTPUT -j KUBE-A", "COMMIT"]

WRONG: list[tuple[str, list[str]]] = [
    ("append to an unknown chain", ["-A KUBE-NONE -p tcp -j RETURN"]),
    ("jump to an unknown chain", [":KUBE-C - [0:0]", "-A KUBE-C -j KUBE-NONE"]),
    ("delete a chain in use", [":KUBE-B - [0:0]", "-X KUBE-B"]),
    ("delete a chain that a built-in one uses", [":KUBE-A - [0:0]", "-X KUBE-A"]),
    ("delete a chain with rules", [":KUBE-C - [0:0]", "-A KUBE-C -j RETURN", "-X KUBE-C"]),
    ("delete an unknown chain", ["-X KUBE-NONE"]),
    ("delete a rule that is not there", ["-D OUTPUT -j KUBE-B"]),
    ("a name of 29 characters", [f":KUBE-{'A' * 24} - [0:0]"]),
    ("an unknown command", ["-Q KUBE-A"]),
]
RIGHT: list[tuple[str, list[str]]] = [
    ("flush and delete in one go", ["-D OUTPUT -j KUBE-A", ":KUBE-A - [0:0]", "-X KUBE-A"]),
    ("both chains", ["-D OUTPUT -j KUBE-A", ":KUBE-B - [0:0]", ":KUBE-A - [0:0]", "-X KUBE-A", "-X KUBE-B"]),
    ("declare and delete what was not there", [":KUBE-C - [0:0]", "-X KUBE-C"]),
    ("a name of 28 characters", [f":KUBE-{'A' * 23} - [0:0]"]),
    ("jump forwards", [":KUBE-D - [0:0]", ":KUBE-C - [0:0]", "-A KUBE-C -j KUBE-D"]),
    ("a rule without a target", ["-A KUBE-B -p tcp"]),
]


@pytest.mark.parametrize(
    ("refused", "lines"),
    [pytest.param(True, row[1], id=row[0]) for row in WRONG]
    + [pytest.param(False, row[1], id=row[0]) for row in RIGHT],
)
def test_the_fake_kernel_refuses_what_the_tools_refuse(tools: Tools, refused: bool, lines: list[str]) -> None:
    kernel = FakeKernel()
    kernel.restore(BEFORE)
    assert tools.restore("\n".join([*BEFORE, ""])).returncode == 0
    held = tools.save()
    change = ["*nat", *lines, "COMMIT"]
    done = tools.restore("\n".join([*change, ""]))
    assert bool(done.returncode) is refused, done.stderr
    if refused:
        with pytest.raises(Refused):
            kernel.restore(change)
        assert _rules(tools.save()) == _rules(held), "nothing is half-applied"
    else:
        kernel.restore(change)
    saved = parse_save(tools.save())
    assert {("nat", chain) for chain in saved["nat"].user_chains} == set(kernel.user_chains())


def _rules(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line.startswith(("-A", ":")))


# kproxy cleanup, for real.


def test_cleanup_removes_all_of_ours_and_nothing_of_others(tools: Tools) -> None:
    foreign = FOREIGN.replace("10.0.0.0/8", "10.0.0.0/8" if tools.family is V4 else "fd00::/8")
    assert tools.restore(foreign).returncode == 0
    before = _rules(tools.save())
    rig = Rig(tools.family, ADDRESSES[tools.family])
    rig.apply(map(here, mix(tools.family)))
    assert tools.restore(rig.ruleset.difference()[0].text).returncode == 0
    told = tools.netns.tool(sys.executable, "-m", "kproxy", "cleanup")
    assert "chains removed" in told
    after = _rules(tools.save())
    kubelet = [line for line in after if "KUBE-FIREWALL" in line]
    assert bool(kubelet) is (tools.family is V4), "it stays: the kubelet shares it"
    built_in = {line for line in after if line.startswith(":") and " - " not in line}
    assert set(before) == set(after) - set(kubelet) - (built_in - set(before))
    saved = parse_save(tools.save())
    assert not [chain for table in saved for chain in saved[table].user_chains if owned(table, chain)]
    again = tools.netns.tool(sys.executable, "-m", "kproxy", "cleanup")
    assert all(line.endswith(": 0 chains removed") for line in again.splitlines())


def test_cleanup_names_the_foreign_chain_that_uses_ours(tools: Tools) -> None:
    text = (
        "*nat\n:FOREIGN - [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A FOREIGN -j KUBE-SERVICES\nCOMMIT\n"
    )
    assert tools.restore(text).returncode == 0
    told = tools.netns.tool(sys.executable, "-m", "kproxy", "cleanup")
    assert "KUBE-SERVICES is emptied but stays: FOREIGN jumps to it" in told
    assert parse_save(tools.save())["nat"].user_chains == {"FOREIGN", "KUBE-SERVICES"}


# The canary.


def test_a_canary_that_is_gone_is_noticed_whatever_else_is_there(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """nft prints a warning before its answer when there are legacy tables too."""
    family, variant = tools.family, tools.program.rpartition("-")[2]
    binaries = find_binaries(family, variant)
    assert binaries is not None
    tool = IptablesTool(binaries)
    other = Tools(tools.netns, family, "legacy" if variant == "nft" else "nft")
    for table in ("filter", "nat", "mangle"):
        assert other.restore(f"*{table}\n:OTHER - [0:0]\nCOMMIT\n").returncode == 0
        assert tools.netns.run(lambda table=table: tool.has_chain(table, CANARY)) is False  # type: ignore[misc]
        assert tools.restore(f"*{table}\n:{CANARY} - [0:0]\nCOMMIT\n").returncode == 0
        assert tools.netns.run(lambda table=table: tool.has_chain(table, CANARY)) is True  # type: ignore[misc]
        assert tools.restore(f"*{table}\n-X {CANARY}\nCOMMIT\n").returncode == 0
        assert tools.netns.run(lambda table=table: tool.has_chain(table, CANARY)) is False  # type: ignore[misc]
