"""kube-proxy in each of its modes: how it is selected, and what its tools need."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.flows.configs import SYNC_PERIOD_S
from tests.flows.modes import Iptables, Nftables
from tests.oracle.cluster import Program, kube_proxy
from tests.peers import peer

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class KubeProxy(Iptables):
    """kube-proxy's iptables mode over one variant of the tool, which it finds under the plain names."""

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        self.name = f"kube-proxy-{variant}"
        periods = (f"--iptables-sync-period={SYNC_PERIOD_S}s", "--iptables-min-sync-period=100ms")
        self.arguments = ("--proxy-mode=iptables", *periods)

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        flag, programs = directory / "obstructed", directory / "obstructed-programs"
        programs.mkdir(exist_ok=True)
        for prefix in ("iptables", "ip6tables"):
            script = programs / f"{prefix}-restore"
            real = shutil.which(f"{prefix}-{self.variant}-restore")
            script.write_text(f'#!/bin/sh\n[ -e {flag} ] && {{ echo obstructed >&2; exit 4; }}\nexec {real} "$@"\n')
            script.chmod(0o755)
        return {"PATH": f"{programs}:{tools(directory, self.variant)}:{SYSTEM_PATH}"}, flag

    def program(self) -> Program:
        """kube-proxy, with the tools of this variant."""
        variant = self.variant
        return kube_proxy(
            str(peer("kube-proxy")), lambda directory: {"PATH": f"{tools(directory, variant)}:{SYSTEM_PATH}"}
        )


class KubeProxyNftables(Nftables):
    """kube-proxy's nftables mode. It calls nft for everything it writes."""

    name = "kube-proxy-nftables"
    table = "kube-proxy"
    arguments = (*Nftables.arguments, "--iptables-min-sync-period=100ms")

    def obstruct(self, directory: Path) -> tuple[dict[str, str], Path]:
        flag, programs = directory / "obstructed", directory / "obstructed-nft"
        programs.mkdir(exist_ok=True)
        script = programs / "nft"
        script.write_text(
            f'#!/bin/sh\n[ -e {flag} ] && {{ echo obstructed >&2; exit 1; }}\nexec {shutil.which("nft")} "$@"\n'
        )
        script.chmod(0o755)
        return {"PATH": f"{programs}:{SYSTEM_PATH}"}, flag

    def program(self) -> Program:
        """kube-proxy."""
        return kube_proxy(str(peer("kube-proxy")), lambda _: {})


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
