"""Looks at the machine's own rules, addresses and routes, to be compared before and after. Changes nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

#: What differs each time it is asked for: dates, counters, remaining lifetimes.
PASSING = re.compile(r"^#.*| \[\d+:\d+\]| (valid|preferred)_lft \S+| expires \S+")
#: A legacy table without rules is as good as none, and older kernels make one of their own accord.
EMPTY = re.compile(r"\*\w+|:\w+ ACCEPT|COMMIT")
SYSCTLS = ("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "net/ipv6/conf/all/forwarding")
COMMANDS = {
    "addresses": ("ip", "-o", "addr"),
    "links": ("ip", "-o", "link"),
    "IPv4 routes": ("ip", "-4", "route", "show", "table", "all"),
    "IPv6 routes": ("ip", "-6", "route", "show", "table", "all"),
    "nftables rules": ("nft", "--stateless", "list", "ruleset"),
}
#: Asking for a legacy table that is not there would load it, so only those that the kernel names are asked for.
LEGACY = {
    "iptables-legacy-save": Path("/proc/net/ip_tables_names"),
    "ip6tables-legacy-save": Path("/proc/net/ip6_tables_names"),
}

Snapshot = dict[str, tuple[str, ...]]
"""What was looked at -> its lines."""


def snapshot() -> Snapshot:
    """Return what this machine's network looks like. What cannot be read (no such tool) is left out."""
    seen = {what: _lines(*command) for what, command in COMMANDS.items() if shutil.which(command[0])}
    for command, names in LEGACY.items():
        if shutil.which(command) and names.exists():
            tables = names.read_text().split()
            seen[command] = tuple(line for table in sorted(tables) for line in _lines(command, "-t", table))
    files = [Path("/proc/sys", name) for name in SYSCTLS]
    seen["sysctls"] = tuple(f"{file}: {file.read_text().strip()}" for file in files if file.exists())
    return seen


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Say what changed, a line for each thing looked at; empty when nothing did."""
    found = []
    for what in sorted(before.keys() | after.keys()):
        gone = [line for line in before.get(what, ()) if line not in after.get(what, ())]
        new = [line for line in after.get(what, ()) if line not in before.get(what, ())]
        if gone or new:
            found.append(f"{what}: {len(new)} lines more, {len(gone)} less, such as: {(new or gone)[0].strip()}")
    return found


def _lines(*command: str) -> tuple[str, ...]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    lines = (PASSING.sub("", line).rstrip() for line in done.stdout.splitlines())
    return tuple(line for line in lines if line and not EMPTY.fullmatch(line))
