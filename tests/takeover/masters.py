"""Who may have a node in hand: a program in one of its modes, and what shows that its rules are there."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.oracle.cluster import KPROXY, Program
from tests.oracle.kube_proxy import KubeProxyIptables

if TYPE_CHECKING:
    from tests.lab import Namespace

CLUSTER = ("--cluster-cidr=10.244.0.0/16,fd00:10:244::/48", *LEAVE_CONNTRACK)
#: Tools that list rules, and what in their output is one program's and mode's own.
LISTS = {
    "iptables-nft": ("iptables-nft-save", "ip6tables-nft-save"),
    "iptables-legacy": ("iptables-legacy-save", "ip6tables-legacy-save"),
    "nftables": ("nft list tables",),
}
#: KUBE-FIREWALL and the hint chains belong to the kubelet, too.
_OURS = re.compile(r"^:(KUBE-(?:SVC|SEP|SERVICES|POSTROUTING|EXT|NODEPORTS|MARK-MASQ)\S*)", re.MULTILINE)
_IPVS_CHAINS = re.compile(r"^:KUBE-(?:IPVS-|NODE-PORT|LOAD-BALANCER|SOURCE-RANGES)", re.MULTILINE)
_TABLE = re.compile(r"^table (ip6? (?:kproxy|kproxy-ipvs|kube-proxy))$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Master:
    """A program in one of its modes; `rules` are the kinds of rules that it makes, as `kinds` names them."""

    name: str
    arguments: tuple[str, ...]
    rules: frozenset[str]
    variant: str = ""
    """Of kube-proxy's iptables: which one it finds under the plain names."""

    @property
    def program(self) -> Program:
        return KubeProxyIptables(self.variant or "nft").program() if self.name.startswith("kube-proxy") else KPROXY


def kube_proxy(mode: str, variant: str = "") -> Master:
    rules = {
        "nftables": {"table kube-proxy"},
        "iptables": {f"iptables-{variant}"},
        "ipvs": {f"iptables-{variant}", "virtual servers", "kube-ipvs0", "ipsets", "chains of IPVS mode"},
    }[mode]
    name = f"kube-proxy {mode}{f'-{variant}' if variant else ''}"
    return Master(name, (f"--proxy-mode={mode}", *CLUSTER), frozenset(rules), variant)


def kproxy(mode: str, variant: str = "") -> Master:
    rules = {
        "nftables": {"table kproxy"},
        "iptables": {f"iptables-{variant}"},
        "ipvs": set(REMAINS),
    }[mode]
    more = (f"--iptables-variant={variant}",) if variant else ()
    name = f"kproxy {mode}{f'-{variant}' if variant else ''}"
    return Master(name, (f"--proxy-mode={mode}", *more, *CLUSTER), frozenset(rules), variant)


REMAINS = frozenset({"table kproxy-ipvs", "virtual servers", "kube-ipvs0"})
"""What stays of IPVS mode for as long as connections do that it made."""


def kinds(node: Namespace) -> set[str]:
    """The kinds of rules of Service proxies that a node has at present, of either family."""
    found = set()
    for kind in ("iptables-nft", "iptables-legacy"):
        for command in LISTS[kind]:
            saved = node.run(command, check=False)
            found |= {kind} if _OURS.search(saved) else set()
            found |= {"chains of IPVS mode"} if _IPVS_CHAINS.search(saved) else set()
    if shutil.which("ipset") and "KUBE-" in node.run("ipset", "-n", "list", check=False):
        found.add("ipsets")
    tables = _TABLE.findall(node.run("nft", "list", "tables"))
    if shutil.which("ipvsadm") and "-A " in node.run("ipvsadm", "-S", "-n", check=False):
        found.add("virtual servers")
    if "kube-ipvs0" in node.run("ip", "link", "show"):
        found.add("kube-ipvs0")
    return found | {f"table {name.split()[1]}" for name in tables}


def make_bare(node: Namespace) -> None:
    """Remove the rules of all Service proxies. The table mangle stays: there a kubelet says which iptables it uses."""
    for family in ("ip", "ip6"):
        for variant in ("nft", "legacy"):
            for table in ("nat", "filter"):
                node.run(f"{family}tables-{variant}-restore", stdin=f"*{table}\nCOMMIT\n")
        for table in ("kproxy", "kube-proxy"):
            node.run("nft", "delete", "table", family, table, check=False)
