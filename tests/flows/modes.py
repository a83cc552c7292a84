"""The proxy modes and variants the table is run in, and the few things that must be done differently in each."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from tests.flows.configs import SYNC_PERIOD_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Family, Namespace

TABLES = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


class Mode(ABC):
    """`name` is what test ids show, `letter` the mode in the table's terms, `arguments` what selects it."""

    name: str
    letter: str
    arguments: tuple[str, ...]

    @abstractmethod
    def reset(self, node: Namespace) -> None:
        """Take away every rule on the node, whoever made it, and whatever the last configuration set."""

    @abstractmethod
    def flush(self, node: Namespace, family: Family, tables: tuple[str, ...]) -> None:
        """Delete every rule and chain of some tables, as an administrator would."""

    @abstractmethod
    def forward_policy(self, node: Namespace, family: Family, policy: str, accept: tuple[str, ...] = ()) -> None:
        """Set the policy of FORWARD, and accept everything to the addresses `accept`, as a CNI plugin would."""

    @abstractmethod
    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        """A way to make every sync fail: the environment for the program, and the file whose existence does it."""


class Iptables(Mode):
    letter = "i"

    def __init__(self, variant: str) -> None:
        self.name = self.variant = variant
        self.arguments = (
            "--proxy-mode=iptables",
            f"--iptables-variant={variant}",
            f"--iptables-sync-period={SYNC_PERIOD_S}s",
        )

    def command(self, family: Family, what: str = "") -> str:
        return f"{'ip' if family == 'ipv4' else 'ip6'}tables-{self.variant}{what}"

    def reset(self, node: Namespace) -> None:
        self.flush(node, "ipv4", tuple(TABLES))
        self.flush(node, "ipv6", tuple(TABLES))
        node.sysctl({"net/ipv4/conf/all/route_localnet": 0, "net/netfilter/nf_conntrack_tcp_be_liberal": 0})

    def flush(self, node: Namespace, family: Family, tables: tuple[str, ...]) -> None:
        lines = []
        for table in tables:
            lines += [f"*{table}", *(f":{chain} ACCEPT [0:0]" for chain in TABLES[table]), "COMMIT"]
        node.run(self.command(family, "-restore"), "-w", "5", stdin="\n".join(lines) + "\n")

    def forward_policy(self, node: Namespace, family: Family, policy: str, accept: tuple[str, ...] = ()) -> None:
        tool = self.command(family)
        node.run(tool, "-w", "5", "-P", "FORWARD", policy)
        for address in accept:
            node.run(tool, "-w", "5", "-A", "FORWARD", "-d", address, "-j", "ACCEPT")

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        flag, programs = directory / "obstructed", directory / "obstructed-programs"
        programs.mkdir(exist_ok=True)
        for prefix in ("iptables", "ip6tables"):
            for name in (f"{prefix}-restore", f"{prefix}-{self.variant}-restore"):
                real = shutil.which(name)
                script = programs / name
                script.write_text(
                    f'#!/bin/sh\n[ -e {flag} ] && {{ echo "obstructed by the test" >&2; exit 4; }}\nexec {real} "$@"\n'
                )
                script.chmod(0o755)
        return {"PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, flag


OBSTRUCTION = """
import errno, os, socket

class Socket(socket.socket):
    def send(self, *arguments):
        if self.family == socket.AF_NETLINK and self.proto in (12, 16) and os.path.exists({flag!r}):
            raise OSError(errno.ENOMEM, "obstructed by the test")
        return super().send(*arguments)

socket.socket = Socket
"""


class Nftables(Mode):
    letter = "n"
    name = "nftables"
    table = "kproxy"
    arguments: tuple[str, ...] = ("--proxy-mode=nftables", f"--iptables-sync-period={SYNC_PERIOD_S}s")

    def reset(self, node: Namespace) -> None:
        node.run("nft", "flush", "ruleset")

    def flush(self, node: Namespace, family: Family, tables: tuple[str, ...]) -> None:
        for _ in tables:
            node.run("nft", "delete", "table", "ip" if family == "ipv4" else "ip6", self.table)

    def forward_policy(self, node: Namespace, family: Family, policy: str, accept: tuple[str, ...] = ()) -> None:
        table = f"table {'ip' if family == 'ipv4' else 'ip6'} firewall"
        if policy == "ACCEPT":
            node.run("nft", "delete", *table.split())
            return
        ip = "ip" if family == "ipv4" else "ip6"
        rules = "".join(f"{ip} daddr {address} accept\n" for address in accept)
        chain = f"chain forward {{ type filter hook forward priority 10; policy {policy.lower()};\n{rules}}}"
        node.run("nft", "-f", "-", stdin=f"{table} {{ }}\ndelete {table}\n{table} {{ {chain}\n}}\n")

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        """The program's own netlink sockets fail: nothing else stands between it and the kernel."""
        flag, modules = directory / "obstructed", directory / "obstructed-modules"
        modules.mkdir(exist_ok=True)
        modules.joinpath("sitecustomize.py").write_text(OBSTRUCTION.format(flag=str(flag)))
        return {"PYTHONPATH": str(modules)}, flag


class Ipvs(Nftables):
    """Virtual servers, addresses on a link of their own, and a table. All of it can be taken away."""

    letter = "v"
    name = "ipvs"
    arguments: tuple[str, ...] = ("--proxy-mode=ipvs", f"--ipvs-sync-period={SYNC_PERIOD_S}s")

    def reset(self, node: Namespace) -> None:
        super().reset(node)
        node.run("ipvsadm", "-C")
        node.run("ip", "link", "delete", "kube-ipvs0", check=False)

    def flush(self, node: Namespace, family: Family, tables: tuple[str, ...]) -> None:
        node.run("nft", "delete", "table", "ip" if family == "ipv4" else "ip6", "kproxy-ipvs")
        for line in node.run("ipvsadm", "-Sn").splitlines():
            words = line.split()
            if words[0] == "-A" and words[2].startswith("[") is (family == "ipv6"):
                node.run("ipvsadm", "-D", *words[1:3])


MODES: tuple[Mode, ...] = (Iptables("legacy"), Iptables("nft"), Nftables(), Ipvs())
