"""Who holds the xtables lock. The tools themselves wait for it (`-w`); this only names the culprit afterwards."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_LOCK = "/run/xtables.lock"


def lock_path() -> Path:
    """Return the lock file that iptables uses, its environment variable included."""
    return Path(os.environ.get("XTABLES_LOCKFILE") or DEFAULT_LOCK)


def lock_holder(path: Path | None = None, proc: Path = Path("/proc")) -> str:
    """Return "COMMAND (pid N)" of the process that holds the lock, or "" when nobody is found."""
    try:
        inode = (path or lock_path()).stat().st_ino
        locks = (proc / "locks").read_text(encoding="utf-8")
    except OSError:
        return ""
    for line in locks.splitlines():
        # 3: FLOCK  ADVISORY  WRITE 4711 00:19:1234 0 EOF   (a waiting process has "->" in the second place)
        words = line.split()
        if len(words) >= 6 and words[1] != "->" and words[5].rpartition(":")[2] == str(inode):
            return f"{_command(proc, words[4])} (pid {words[4]})"
    return ""


def _command(proc: Path, pid: str) -> str:
    try:
        return (proc / pid / "comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "a process in another PID namespace"
