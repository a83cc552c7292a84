"""Where the kernel is: in the cache, else built into it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILD_TIMEOUT_S = 3600


class Missing(RuntimeError):
    """The kernel is not in the cache and cannot be built; the text says why."""


def cached() -> Path:
    """Where the kernel of this configuration is or would be: KPROXY_UML_KERNEL, else below the user's cache directory.

    The name holds the hash of everything that decides what is built.
    """
    if given := os.environ.get("KPROXY_UML_KERNEL"):
        return Path(given)
    made_from = (HERE / "kernel.config").read_bytes() + os.environ.get("UML_SOURCE", "").encode()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "kproxy", "uml", f"linux-{hashlib.sha256(made_from).hexdigest()[:12]}")


def why_not() -> str:
    """Why this machine can't run the kernel at all; empty when it can."""
    machine = platform.machine()
    return "" if machine == "x86_64" else f"User-Mode Linux runs on x86_64 only, and this is {machine}"


def kernel() -> Path:
    """The kernel, which is built first when it is not in the cache. Missing when it can't be."""
    if reason := why_not():
        raise Missing(reason)
    path = cached()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _build(path)
    return path


def _build(path: Path) -> None:
    print(f"building a User-Mode Linux kernel into {path}: about five minutes, once", flush=True)
    done = subprocess.run([HERE / "build.sh", path], stderr=subprocess.PIPE, text=True, timeout=BUILD_TIMEOUT_S)
    if done.returncode:
        raise Missing(f"the kernel could not be built: {done.stderr.strip()[-2000:]}")
