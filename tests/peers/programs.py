"""Where the real programs are: in the cache, else built into it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.uml.machine import inside

HERE = Path(__file__).parent
#: Built from Go modules: coredns/go.mod, etcd/go.mod, kubernetes/go.mod, monitoring/go.mod.
PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"),
    *("kubectl", "kubeadm", "monitoring.yaml", "coredns"),
)
#: From Debian's packages.
PACKAGED = ("prometheus", "promtool")
BUILD_TIMEOUT_S = 1800


class Missing(RuntimeError):
    """A program is not in the cache and cannot be built; the text says why."""


def _version(module: str, package: str) -> str:
    text = (HERE / module / "go.mod").read_text()
    match = re.search(rf"^require {re.escape(package)} v(\S+)$", text, re.MULTILINE)
    assert match, f"{module}/go.mod requires no {package}"
    return match[1]


#: The Kubernetes version, as go.mod requires it.
VERSION = _version("kubernetes", "k8s.io/kubernetes")
COREDNS_VERSION = _version("coredns", "github.com/coredns/coredns")


def cache(program: str = "") -> Path:
    """The folder of a program of this version: KPROXY_PEERS, else below the user's cache directory."""
    if given := os.environ.get("KPROXY_PEERS"):
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "kproxy", "peers", f"coredns-{COREDNS_VERSION}" if program == "coredns" else VERSION)


def why_not(*programs: str) -> str:
    """Why one of these programs cannot be had on this machine; empty when all can."""
    missing = [program for program in programs if not (cache(program) / program).exists()]
    if missing and inside():
        return f"{' and '.join(missing)} must be in the cache, as there is no network in User-Mode Linux"
    built = [program for program in missing if program not in PACKAGED]
    if built and not shutil.which("go"):
        return f"{' and '.join(built)} must be built, and Go is not installed"
    packaged = [program for program in missing if program in PACKAGED]
    if packaged and not shutil.which("apt-get"):
        return f"{' and '.join(packaged)} must come from Debian's packages, and there is no apt-get"
    return ""


def peer(program: str) -> Path:
    """The path of one of PROGRAMS, which is built first when it is not in the cache. Missing when it cannot be."""
    path = cache(program) / program
    if not path.exists():
        _build(program)
    return path


def require(*programs: str) -> None:
    """For fixtures: skip the test where a program cannot be had, and fail it in CI, where everything runs."""
    reason = why_not(*programs)
    if not reason:
        return
    if os.environ.get("CI", "") not in ("", "false"):
        pytest.fail(f"in CI every test runs: {reason}", pytrace=False)
    pytest.skip(f"NOT RUN: it needs the real Kubernetes programs; {reason}")


def _build(program: str) -> None:
    if reason := why_not(program):
        raise Missing(reason)
    folder = cache(program)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / program).exists():
            return
        done = subprocess.run(
            [HERE / "build.sh", folder, program], stderr=subprocess.PIPE, text=True, timeout=BUILD_TIMEOUT_S
        )
    if done.returncode:
        raise Missing(f"{program} could not be built:\n{done.stderr.strip()[-2000:]}")
