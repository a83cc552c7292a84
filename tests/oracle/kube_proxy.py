"""The real kube-proxy as the program under test: its mode, its lab with a control plane, and its stage."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from unittest import mock

from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.controlplane.control_plane import KUBE_PROXY_TOKEN
from tests.flows import scene
from tests.flows.configs import SYNC_PERIOD_S
from tests.flows.modes import Iptables
from tests.flows.sctp import PROTOCOLS
from tests.flows.stage import Stage
from tests.lab import FAMILIES, Agent, Cluster
from tests.oracle.api_objects import ApiObjects
from tests.peers import peer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.lab import Family
    from tests.lab.probe import Protocol

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: kube-proxy refuses TCP by ICMP. Over IPv6 the kernel's TCP believes it only when the SYN is repeated, after a second.
REFUSED_WITHIN_S = 3.0


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
            real = f"{prefix}-{self.variant}-restore"
            script.write_text(f'#!/bin/sh\n[ -e {flag} ] && {{ echo obstructed >&2; exit 4; }}\nexec {real} "$@"\n')
            script.chmod(0o755)
        return {"PATH": f"{programs}:{tools(directory, self.variant)}:{SYSTEM_PATH}"}, flag


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


class OracleCluster(Cluster):
    """The lab with a control plane; manifests go to its API server, and agents are kube-proxies that read from it."""

    def __init__(self, variant: str, protocols: Sequence[Protocol]) -> None:
        super().__init__(plan_with_control_plane(), protocols)
        self._variant = variant

    def __enter__(self) -> OracleCluster:
        super().__enter__()
        self.control = ControlPlane.of(self)
        try:
            self.control.__enter__()
            self.manifests = self._objects = ApiObjects(self.manifests.path, self.control)
        except BaseException:
            super().__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._objects.close()
        self.control.stop()
        super().__exit__(*exc)

    def agent(
        self,
        *arguments: str,
        program: Sequence[str] = (),
        families: Sequence[Family] = FAMILIES,
        env: Mapping[str, str] | None = None,
    ) -> Agent:
        """kube-proxy on the node, not started yet. It logs in as the user the API server itself has rules for."""
        config = self.control.kubeconfig("kube-proxy", token=KUBE_PROXY_TOKEN)
        path = {"PATH": f"{tools(self.manifests.path.parent, self._variant)}:{SYSTEM_PATH}"}
        command = (*(program or (str(peer("kube-proxy")),)), "--kubeconfig", str(config))
        own = ("--hostname-override", self.plan.node_under_test)
        return Agent(self.node, [*command, *own, *arguments], families, {**path, **(env or {})})


class OracleStage(Stage):
    """Plays cases as for kproxy, but gives refusals the time that kube-proxy's need."""

    def __init__(self, mode: KubeProxy) -> None:
        super().__init__(mode, PROTOCOLS)
        self._cluster = OracleCluster(mode.variant, PROTOCOLS)
        self._patience = mock.patch.object(scene, "REFUSED_WITHIN_S", REFUSED_WITHIN_S)

    def open(self) -> None:
        super().open()
        self._patience.start()

    def close(self) -> None:
        self._patience.stop()
        super().close()
