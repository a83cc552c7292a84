"""Writes kernel settings below /proc/sys, only where they differ."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.dataplane import conntrack
from kproxy.errors import FeatureMissing, KernelError, PermissionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kproxy.plan.sysctls import Sysctl

PROC_SYS = Path("/proc/sys")
_CONNTRACK = "/nf_conntrack_"


def apply(
    sysctls: Iterable[Sysctl], root: Path = PROC_SYS, *, load_conntrack: Callable[[], None] = conntrack.load
) -> tuple[Sysctl, ...]:
    """Write the settings that differ from what is there, in order; return those written.

    Those of connection tracking are there once it is loaded, which nobody may have had a reason for since the boot.

    Raises at the first that fails, naming the setting, the flag that asks for it and the remedy: `FeatureMissing` when
    the kernel does not have it, `PermissionMissing` when it may not be written, else `KernelError`. What was
    written before stays, as it was wanted anyway.
    """
    written = []
    for sysctl in sysctls:
        path = root / sysctl.name
        if _CONNTRACK in sysctl.name and not path.exists():
            load_conntrack()
        try:
            if sysctl.satisfied_by(int(path.read_text())):
                continue
            path.write_text(f"{sysctl.value}\n")
        except (OSError, ValueError) as error:
            raise _failure(sysctl, error) from None
        written.append(sysctl)
    return tuple(written)


def read(name: str, root: Path = PROC_SYS) -> int | None:
    """Return the present value of a setting ("net/netfilter/nf_conntrack_tcp_be_liberal"); None: not to be had."""
    try:
        return int((root / name).read_text())
    except (OSError, ValueError):
        return None


def count_cpus() -> int:
    """Return the number of CPUs of the node that are online, whatever share of them this process may use."""
    return os.cpu_count() or 1


def _failure(sysctl: Sysctl, error: OSError | ValueError) -> KernelError:
    what = f"set {sysctl.name.replace('/', '.')} to {sysctl.value}, as {sysctl.flag} asks for: "
    remedy = sysctl.remedy
    if isinstance(error, FileNotFoundError):
        if _CONNTRACK in sysctl.name:
            remedy = f"load the module nf_conntrack, or {remedy}"
        return FeatureMissing(f"{what}this kernel does not have it", remedy=remedy)
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        reason = "read-only here (not root, or a container, or not the initial network namespace)"
        return PermissionMissing(what + reason, remedy=remedy)
    return KernelError(f"{what}{error.strerror if isinstance(error, OSError) else error}", remedy=remedy)
