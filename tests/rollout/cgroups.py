"""A control group of the machine's own in every hierarchy: all that runs on it is below one that can be removed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path("/sys/fs/cgroup")
NEEDED = {"cpu", "cpuset", "memory", "pids"}
#: Where the processes of the machine are with version 2, which allows none in a group that has others below.
LEAF = "system"
#: With version 1 a new group may use no CPU until it is told which.
TO_INHERIT = ("cpuset.cpus", "cpuset.mems")


def why_not() -> str:
    """Why a kubelet has no use for the control groups of this machine; empty when it has."""
    if _is_v2():
        given = set((ROOT / "cgroup.subtree_control").read_text().split())
    else:
        given = {path.name for path in hierarchies()} | {
            name for path in hierarchies() for name in path.name.split(",")
        }
    missing = NEEDED - given
    return f"control groups for {', '.join(sorted(missing))} are missing" if missing else ""


def hierarchies() -> list[Path]:
    """Where they are mounted: at one place (version 2), or at one for each kind of resource (version 1)."""
    if _is_v2():
        return [ROOT]
    return [path for path in ROOT.iterdir() if (path / "cgroup.procs").exists()] if ROOT.is_dir() else []


def make(name: str) -> list[Path]:
    """Make the groups."""
    made = [hierarchy / name for hierarchy in hierarchies()]
    for group in made:
        group.mkdir()
        if _is_v2():
            (group / LEAF).mkdir()
            continue
        for setting in TO_INHERIT:
            if (group / setting).exists():
                (group / setting).write_text((group.parent / setting).read_text())
    return made


def entering(groups: Sequence[Path]) -> list[str]:
    """The beginning of a command line: the rest of it runs in these groups, which are the roots of its namespace."""
    leaves = [group / LEAF for group in groups if (group / LEAF).exists()]
    return [*_joining(groups), "unshare", "--cgroup", *(_joining(leaves) if leaves else [])]


def remove(name: str) -> None:
    """Remove the groups; the last of their processes may still be ending. TimeoutError when they don't."""
    for hierarchy in hierarchies():
        eventually(lambda group=hierarchy / name: _removed(group), f"{hierarchy / name} is empty")  # type: ignore[misc]


def _is_v2() -> bool:
    return (ROOT / "cgroup.procs").exists()


def _joining(groups: Sequence[Path]) -> list[str]:
    joins = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in groups)
    return ["sh", "-ec", f'{joins}; exec "$@"', "sh"]


def _removed(group: Path) -> bool:
    try:
        for directory, _, _ in os.walk(group, topdown=False):
            Path(directory).rmdir()
    except OSError:
        return False
    return True
