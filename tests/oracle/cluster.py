"""The lab with a control plane: manifests go to its API server, and the program under test reads from it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.controlplane.control_plane import KUBE_PROXY_TOKEN
from tests.lab import FAMILIES, Agent, Cluster
from tests.oracle.api_objects import ApiObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tests.lab import Family
    from tests.lab.probe import Protocol


@dataclass(frozen=True, slots=True)
class Program:
    """How to start one: its command line, how it logs in, and what its environment needs from a scratch directory."""

    argv: tuple[str, ...]
    token: Callable[[ControlPlane], str]
    env: Callable[[Path], dict[str, str]]


#: It logs in as its service account, so it may do what deploy/rbac.yaml says and no more.
KPROXY = Program((sys.executable, "-m", "kproxy", "run"), ControlPlane.service_account_token, lambda _: {})


def kube_proxy(path: str, env: Callable[[Path], dict[str, str]]) -> Program:
    """kube-proxy at `path`. It logs in as the user for whom the API server itself has rules."""
    return Program((path,), lambda _: KUBE_PROXY_TOKEN, env)


class OracleCluster(Cluster):
    """`program` is what `agent()` makes; it may be another one each time."""

    def __init__(self, protocols: Sequence[Protocol], program: Program = KPROXY) -> None:
        super().__init__(plan_with_control_plane(), protocols)
        self.program = program

    def __enter__(self) -> OracleCluster:
        super().__enter__()
        self.control = ControlPlane.of(self)
        try:
            self.control.__enter__()
            self.control.install_rbac()
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
        """The program on the node, not started yet."""
        made = self.program
        config = self.control.kubeconfig("agent", token=made.token(self.control))
        own = ("--kubeconfig", str(config), "--hostname-override", self.plan.node_under_test)
        basis = made.env(self.manifests.path.parent)
        return Agent(self.node, [*(program or made.argv), *own, *arguments], families, {**basis, **(env or {})})
