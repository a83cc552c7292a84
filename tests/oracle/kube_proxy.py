"""kube-proxy in each of its modes: how it is selected, and what its tools need."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from typing import TYPE_CHECKING

from tests.flows.configs import SYNC_PERIOD_S
from tests.flows.modes import Iptables, Ipvs, Mode, Nftables
from tests.oracle.cluster import Program, kube_proxy
from tests.peers import peer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.lab import Family, Namespace

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The flags of the iptables mode set the periods of the nftables mode too.
PERIODS = (f"--iptables-sync-period={SYNC_PERIOD_S}s", "--iptables-min-sync-period=100ms")
#: So that it says when it learns of its node's zone.
DETAILED = "--v=4"


class KubeProxy(Mode):
    """One of kube-proxy's modes."""

    @abstractmethod
    def program(self) -> Program:
        """kube-proxy, with the tools that it needs in this mode."""


class KubeProxyIptables(Iptables, KubeProxy):
    """kube-proxy's iptables mode over one variant of the tool, which it finds under the plain names."""

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        self.name = f"kube-proxy-iptables-{variant}"
        self.arguments = ("--proxy-mode=iptables", *PERIODS, DETAILED)

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        names = {f"{prefix}-restore": f"{prefix}-{self.variant}-restore" for prefix in ("iptables", "ip6tables")}
        programs, flag = obstructed(directory, names)
        return {"PATH": f"{programs}:{tools(directory, self.variant)}:{SYSTEM_PATH}"}, flag

    def program(self) -> Program:
        variant = self.variant
        return kube_proxy(
            str(peer("kube-proxy")), lambda directory: {"PATH": f"{tools(directory, variant)}:{SYSTEM_PATH}"}
        )


class KubeProxyNftables(Nftables, KubeProxy):
    """kube-proxy's nftables mode. It calls nft for everything it writes."""

    name = "kube-proxy-nftables"
    table = "kube-proxy"
    arguments = ("--proxy-mode=nftables", *PERIODS, DETAILED)

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        programs, flag = obstructed(directory, {"nft": "nft"})
        return {"PATH": f"{programs}:{SYSTEM_PATH}"}, flag

    def program(self) -> Program:
        return kube_proxy(str(peer("kube-proxy")), lambda _: {"PATH": SYSTEM_PATH})


class KubeProxyIpvs(Ipvs, KubeProxy):
    """kube-proxy's IPVS mode. It calls ipset and iptables; virtual servers and addresses it writes over netlink."""

    name = "kube-proxy-ipvs"
    arguments = ("--proxy-mode=ipvs", f"--ipvs-sync-period={SYNC_PERIOD_S}s", "--ipvs-min-sync-period=100ms", DETAILED)

    def reset(self, node: Namespace) -> None:
        super().reset(node)
        node.run("ipset", "destroy")

    def flush(self, node: Namespace, family: Family, tables: tuple[str, ...]) -> None:
        Iptables("nft").flush(node, family, ("nat", "filter"))
        node.run("ipvsadm", "-C")

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        names = {f"{prefix}-restore": f"{prefix}-nft-restore" for prefix in ("iptables", "ip6tables")}
        programs, flag = obstructed(directory, names)
        return {"PATH": f"{programs}:{tools(directory, 'nft')}:{SYSTEM_PATH}"}, flag

    def program(self) -> Program:
        return kube_proxy(
            str(peer("kube-proxy")), lambda directory: {"PATH": f"{tools(directory, 'nft')}:{SYSTEM_PATH}"}
        )


def obstructed(directory: Path, names: Mapping[str, str]) -> tuple[Path, Path]:
    """A directory with tools that fail while a file exists, and that file. `names` gives the tool each stands for."""
    flag, programs = directory / "obstructed", directory / "obstructed-kube-proxy"
    programs.mkdir(exist_ok=True)
    for name, stands_for in names.items():
        script, real = programs / name, shutil.which(stands_for)
        script.write_text(f'#!/bin/sh\n[ -e {flag} ] && {{ echo obstructed >&2; exit 4; }}\nexec {real} "$@"\n')
        script.chmod(0o755)
    return programs, flag


def tools(directory: Path, variant: str) -> Path:
    """A directory in which the plain names are the tools of one variant."""
    there = directory / f"tools-{variant}"
    if not there.exists():
        there.mkdir()
        for name in ("", "-save", "-restore"):
            for prefix in ("iptables", "ip6tables"):
                real = shutil.which(f"{prefix}-{variant}{name}")
                if not real:
                    raise RuntimeError(f"{prefix}-{variant}{name} is not installed")
                (there / f"{prefix}{name}").symlink_to(real)
    return there
