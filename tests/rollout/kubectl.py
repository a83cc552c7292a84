"""What an administrator types, and what the cluster has made of it."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Any

from tests.controlplane.control_plane import ADMIN_TOKEN
from tests.lab.agent import eventually
from tests.lab.run import scaled
from tests.peers import peer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.controlplane import ControlPlane
    from tests.rollout.node import Node

PODS = "/api/v1/namespaces/kube-system/pods"
COMMAND_WITHIN_S, GONE_WITHIN_S = 180.0, 60.0


class Kubectl:
    """kubectl as an administrator; an error comes with what the node's logs say."""

    def __init__(self, control: ControlPlane, node: Node) -> None:
        self._control = control
        self._node = node
        self._config = control.kubeconfig("kubectl", token=ADMIN_TOKEN)

    def __call__(self, *words: str, stdin: str | None = None, cwd: Path | None = None) -> str:
        """Run it, in a directory; returns what it prints."""
        argv = [str(peer("kubectl")), f"--kubeconfig={self._config}", *words]
        there = ("env", f"--chdir={cwd}") if cwd else ()
        try:
            return self._control.namespace.run(*there, *argv, stdin=stdin, timeout_s=scaled(COMMAND_WITHIN_S))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{error}\n{self._node.logs()}") from None

    def type(self, command: str, cwd: Path | None = None) -> str:
        """Run a whole command of a page."""
        program, *words = shlex.split(command)
        assert program == "kubectl"
        return self(*words, cwd=cwd)

    def wait_for_node(self) -> None:
        with self._control.api() as api:

            def is_ready() -> bool:
                self._node.check()
                status = api.get(f"/api/v1/nodes/{self._node.name}").body.get("status", {})
                conditions: list[dict[str, Any]] = status.get("conditions", []) if isinstance(status, dict) else []
                return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

            try:
                eventually(is_ready, "the node is ready", 60, pause_s=0.2)
            except TimeoutError as error:
                raise RuntimeError(f"{error}\n{self._node.logs()}") from None

    def pods(self) -> list[dict[str, Any]]:
        """What runs in kube-system."""
        with self._control.api() as api:
            items: list[dict[str, Any]] = api.get(PODS).checked()["items"]
            return items

    def images(self, name: str) -> set[str]:
        """What the Pods of a DaemonSet run."""
        pods = [pod for pod in self.pods() if pod["metadata"]["generateName"] == f"{name}-"]
        return {container["image"] for pod in pods for container in pod["spec"]["containers"]}

    def restarts(self) -> int:
        """How often containers were started again where they were."""
        statuses = [one for pod in self.pods() for one in pod["status"].get("containerStatuses", [])]
        return sum(status["restartCount"] for status in statuses)

    def reasons(self) -> list[str]:
        """Why containers wait."""
        kinds = ("initContainerStatuses", "containerStatuses")
        states = [one["state"] for pod in self.pods() for kind in kinds for one in pod["status"].get(kind, [])]
        return [state["waiting"]["reason"] for state in states if "waiting" in state]

    def delete_all(self, *kinds: str) -> None:
        """Delete the objects of these kinds, and wait until no Pod is left."""
        self("-n", "kube-system", "delete", ",".join(kinds), "--all", "--wait=false", "--ignore-not-found")
        eventually(lambda: not self.pods(), "the Pods are gone", GONE_WITHIN_S, pause_s=0.2)
