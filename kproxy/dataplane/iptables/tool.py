"""Runs iptables-restore and iptables-save, and turns what they complain of into kproxy's errors."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from kproxy.dataplane.iptables.lock import lock_holder
from kproxy.errors import FeatureMissing, KernelError, LockHeld, PermissionMissing, RestoreRefused
from kproxy.plan.iptables.restore import Restore, SavedTable, parse_save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.dataplane.iptables.binaries import Binaries
    from kproxy.state.addresses import Family

LOCK_WAIT_S = 5
RESOURCE_PROBLEM = 4
"""The exit code of iptables for a lock that did not come free, among others (xtables.h)."""

TIMEOUT_S = 900
"""The nft variant needs minutes for big rulesets that somebody else made; beyond that something hangs."""

_PREFIX = re.compile(r"ip6?tables[a-z-]*( v[\d.]+ \([a-z_]+\))?:\s*")
_COUNT = re.compile(r" -c (\d+) \d+")
_LINE = re.compile(r"\bline:? (\d+)")
_MISSING = re.compile(
    r"(Couldn't load|unknown option|Extension \S+ revision|missing kernel module|No such file or directory)"
)


class IptablesTool:
    """The tools of one family and variant."""

    def __init__(self, binaries: Binaries) -> None:
        self._binaries = binaries

    @property
    def family(self) -> Family:
        """The family these tools are for."""
        return self._binaries.family

    @property
    def variant(self) -> str:
        """Nft or legacy."""
        return self._binaries.variant

    def restore(self, restore: Restore) -> None:
        """Apply a restore without touching anything else in its tables. Each table is applied as a whole.

        Raises `LockHeld` after 5 s, `PermissionMissing`, `FeatureMissing`, or `RestoreRefused` with the line at fault.
        """
        try:
            # The nft variant knows no lock, but takes the option.
            self._run([self._binaries.restore, "-w", str(LOCK_WAIT_S), "--noflush"], restore)
        except KernelError as error:
            error.while_writing = True
            raise

    def save(self) -> dict[str, SavedTable]:
        """Read all tables of this variant back."""
        return parse_save(self._run([self._binaries.save]))

    def has_chain(self, table: str, chain: str) -> bool:
        """Tell whether a chain exists. Raises as `restore`, if that can't be found out."""
        return self._list(table, chain, "1") is not None

    def rules_of(self, table: str, chain: str) -> list[str]:
        """Return the rules of one chain as `save` has them; none if there is no such chain. Raises as `restore`."""
        listed = parse_save(f"*{table}\n{self._list(table, chain) or ''}")
        return listed[table].rules.get(chain, [])

    def packets(self, table: str, chain: str, rule: str) -> int | None:
        """Return how many packets met the rule of a chain that contains this text; None without such a rule."""
        listed = self._list(table, chain, "-v") or ""
        counts = [_COUNT.search(line) for line in listed.splitlines() if rule in line]
        return sum(int(found[1]) for found in counts if found) if any(counts) else None

    def _list(self, table: str, chain: str, *more: str) -> str | None:
        """Run `iptables -S`; None when the chain does not exist."""
        arguments = [self._binaries.iptables, "-w", str(LOCK_WAIT_S), "-t", table, "-S", chain, *more]
        try:
            return self._run(arguments)
        except LockHeld:
            raise
        except KernelError as error:
            if re.search(r"No chain/target/match|does not exist|incompatible", str(error)):
                return None
            raise

    def _run(self, arguments: list[str], restore: Restore | None = None) -> str:
        try:
            with _as_file(restore) as stdin:
                done = subprocess.run(
                    arguments,
                    stdin=stdin,
                    capture_output=True,
                    encoding="utf-8",
                    errors="surrogateescape",  # a comment of somebody's may be in any encoding
                    check=False,
                    timeout=TIMEOUT_S,
                )
        except FileNotFoundError:
            raise FeatureMissing(f"{arguments[0]} is gone", remedy="install the package iptables") from None
        except OSError as error:  # no memory, processes or file descriptors left
            raise KernelError(f"{arguments[0]} can't be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise KernelError(f"{arguments[0]} did not finish in {TIMEOUT_S} s") from None
        if done.returncode:
            raise explain_failure(arguments[0], done.returncode, done.stderr, restore)
        return done.stdout


@contextmanager
def _as_file(restore: Restore | None) -> Iterator[IO[str]]:
    """Give the input as a file in memory: written line by line, it is never held as one text beside its lines."""
    with os.fdopen(os.memfd_create("restore"), "w", encoding="utf-8", errors="surrogateescape") as file:
        if restore is not None:
            file.writelines(f"{line}\n" for line in restore.lines)
            file.flush()
            file.seek(0)
        yield file


def _reason(stderr: str) -> str:
    """Return the line that says what went wrong: neither a warning about the other variant nor a bare program name."""
    for line in stderr.splitlines():
        text = line.strip()
        if text and not text.startswith(("# Warning:", "Another app is currently")) and not _PREFIX.fullmatch(text):
            return _PREFIX.sub("", text, count=1)
    return ""


def explain_failure(program: str, code: int, stderr: str, restore: Restore | None = None) -> KernelError:
    """Return the error for a tool that exited with `code` and printed `stderr`."""
    name = program.rpartition("/")[2]
    said = _reason(stderr) or f"exit code {code}"
    if code == RESOURCE_PROBLEM and "holding the xtables lock" in stderr:
        holder = lock_holder() or "another program"
        return LockHeld(
            f"{name}: the xtables lock is held by {holder}", remedy="kproxy tries again; end that program if it hangs"
        )
    if "ermission denied" in stderr or "peration not permitted" in stderr:
        return PermissionMissing(
            f"{name}: permission denied", remedy="run as root, or with the capability CAP_NET_ADMIN"
        )
    found = _LINE.search(stderr)
    line = int(found.group(1)) if found else None
    at = ""
    if restore is not None and line is not None and 0 < line <= len(restore.lines):
        at = f" at {restore.lines[line - 1]!r}"
    if _MISSING.search(stderr):
        return FeatureMissing(
            f"{name}: {said}{at}", remedy="the kernel or the package iptables lacks what this rule needs"
        )
    return RestoreRefused(f"{name}: {said}{at}", line=line)
