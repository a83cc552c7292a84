"""deploy/ as an administrator edits it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rollout.images import OLD
from tests.rollout.scene import CLUSTER_CIDR, LEAVE_CONNTRACK

if TYPE_CHECKING:
    from tests.rollout.scene import Scene

DEPLOY = Path(__file__).parents[2] / "deploy"


class Deploy:
    """A copy of deploy/, with the address of the API server, the pods' CIDRs and the mode in it.

    The commands of the pages are run in `parent`.
    """

    def __init__(self, scene: Scene, mode: str, parent: Path) -> None:
        self.parent = parent
        shutil.copytree(DEPLOY, parent / "deploy")
        self._edit("configmap.yaml", "https://control-plane.example:6443", scene.server)
        self._edit("configmap.yaml", "clusterCIDR: 10.244.0.0/16", f"clusterCIDR: {CLUSTER_CIDR}")
        self._edit("configmap.yaml", "mode: iptables", f"mode: {mode}\n    {LEAVE_CONNTRACK}")

    def name_version(self, tag: str, of: str = "") -> None:
        """Another tag of the image, once; `of` is a folder of deploy/."""
        self._edit(f"{of}/kustomization.yaml".lstrip("/"), f"newTag: {OLD}", f"newTag: {tag}")

    def be_impatient(self) -> None:
        """Ask every second whether it lives, and wait for three refusals instead of a minute."""
        self._edit("daemonset.yaml", "periodSeconds: 10", "periodSeconds: 1")
        self._edit("daemonset.yaml", "failureThreshold: 6", "failureThreshold: 3")

    def _edit(self, name: str, old: str, new: str) -> None:
        path = self.parent / "deploy" / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old} in {name}"
        path.write_text(text.replace(old, new))
