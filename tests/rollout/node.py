"""The node under test as a machine: a containerd and a kubelet in its network namespace, the rest in others of its own.

Files, processes, mounts, control groups and settings of the host are left as they are; boot.sh says how.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.lab.run import PREFIX, RUNS
from tests.packaging import layers
from tests.peers import peer
from tests.rollout import cgroups
from tests.rollout.oci import Image, write_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster

BOOT = Path(__file__).with_name("boot.sh")
#: On a disk, and on no overlay: containerd stacks overlays on it.
STATE = Path("/var/tmp")
SUFFIX = "-kubelet"
PAUSE = "pause:lab"
#: What a node has that an image has not.
TOOLS = "apt-get update && apt-get install -y --no-install-recommends containerd runc iptables mount && apt-get clean"
NAMESPACES = ("--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--uts", "--ipc")
CONTAINERD = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Where a machine may not give what is important to it a better score, Pods run all the same.
restrict_oom_score_adj = true
"""
KUBELET: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "cgroupDriver": "cgroupfs",
    "failCgroupV1": False,
    "failSwapOn": False,
    "resolvConf": "",
    # A disk that is nearly full is no reason to evict the one Pod there is, nor to delete images.
    "evictionHard": {"memory.available": "1Mi"},
    "imageGCHighThresholdPercent": 100,
    "localStorageCapacityIsolation": False,
}


def require_control_groups() -> None:
    """For fixtures: skip the test where no kubelet can run, and fail it in CI, where everything runs."""
    reason = cgroups.why_not()
    if reason and os.environ.get("CI", "") not in ("", "false"):
        pytest.fail(f"in CI every test runs: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"NOT RUN: {reason}")


class Node:
    """Use as a context manager: inside, the kubelet runs, and these images are there; more are never pulled."""

    def __init__(self, cluster: Cluster, control: ControlPlane, images: Sequence[Image]) -> None:
        self.name = cluster.plan.node_under_test
        self._control = control
        self._images = images
        self._namespace = cluster.node
        self._addresses = cluster.hosts[self.name].addresses
        self._run = f"{cluster.name}{SUFFIX}"
        self.place = STATE / self._run
        self._process: subprocess.Popen[bytes] | None = None
        cluster.node.run_of.on_close(self.close)

    def __enter__(self) -> Self:
        _sweep()
        for name in ("root", "upper", "work"):
            (self.place / name).mkdir(parents=True)
        debian = layers.debian("bookworm")
        system = [debian, layers.layer("node", TOOLS, [debian])]
        pause = Image(PAUSE, (debian,), ("/bin/sleep", "infinity"))
        write_archive([*self._images, pause], self.place / "images.tar")
        self._write_configuration()
        below = ":".join(str(layer) for layer in reversed(system))
        addresses = ",".join(family[0] for family in self._addresses.values())
        boot = ["sh", str(BOOT), str(self.place), below, str(peer("kubelet").parent), self.name, addresses]
        argv = [*cgroups.entering(cgroups.make(self._run)), "unshare", *NAMESPACES, *boot]
        with (self.place / "boot.log").open("wb") as log:
            self._process = self._namespace.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and remove all it has made."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
        _remove(self._run)

    def check(self) -> None:
        """RuntimeError with the end of what was logged when the machine has ended."""
        if self._process and self._process.poll() is not None:
            raise RuntimeError(f"the node has ended:\n{self.logs()}")

    def logs(self, lines: int = 25) -> str:
        """The ends of all logs of the machine and of the containers on it."""
        found = [*self.place.glob("*.log"), *self.place.glob("state/log/pods/*/*/*.log")]
        texts = {path: path.read_text(errors="replace").splitlines()[-lines:] for path in sorted(found)}
        return "\n".join(f"--- {path.relative_to(self.place)}\n" + "\n".join(text) for path, text in texts.items())

    def said_by(self, daemonset: str) -> str:
        """What the Pods of a DaemonSet have said."""
        return "".join(path.read_text() for path in self.place.glob(f"state/log/pods/*_{daemonset}-*/*/*.log"))

    def processes(self, command: str) -> list[int]:
        """The processes of containers whose command line begins with this."""
        inside = self._namespace.path.stat().st_ino
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if line.startswith(command) and (process / "ns/net").stat().st_ino == inside:
                    found.append(int(process.name))
        return found

    def _write_configuration(self) -> None:
        user = f"system:node:{self.name}"
        certificate = self._control.client_certificate("kubelet", user, ["system:nodes"])
        authority = self._control.authority.certificate
        for path in (certificate.certificate, certificate.key, authority):
            shutil.copy(path, self.place / path.name)
        kubeconfig = json.loads(self._control.kubeconfig("kubelet", certificate=certificate).read_text())
        text = json.dumps(kubeconfig).replace(f"{self._control.directory}/", "/place/")
        (self.place / "kubeconfig").write_text(text)
        configuration = KUBELET | {"authentication": {"x509": {"clientCAFile": f"/place/{authority.name}"}}}
        (self.place / "kubelet.yaml").write_text(json.dumps(configuration))
        (self.place / "containerd.toml").write_text(CONTAINERD)


def _remove(name: str) -> None:
    """Remove the files and control groups of a machine that has ended."""
    cgroups.remove(name)
    shutil.rmtree(STATE / name, ignore_errors=True)


def _sweep() -> None:
    """Remove what machines of dead runs left behind."""
    left = {path.name for place in (STATE, *cgroups.hierarchies()) for path in place.glob(f"{PREFIX}*{SUFFIX}")}
    for name in left:
        if not (RUNS / name.removesuffix(SUFFIX)).exists():
            _remove(name)
