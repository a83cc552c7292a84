"""Reads legacy tables through python-iptables (the extra `legacy-reader`): a second pair of eyes beside iptables-save.

python-iptables reads a whole table by libiptc, sees legacy tables only, and ignores the xtables lock; so the lock is
taken around each look, or it could see a table in the middle of somebody's change. It also mixes the families' targets
up, so one process must read one family only.
"""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kproxy.dataplane.iptables.lock import lock_holder, lock_path
from kproxy.errors import FeatureMissing, KernelError, LockHeld
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_WAIT_S = 5.0
LOCK_POLL_S = 0.05


def read_chains(family: Family, table: str) -> dict[str, list[str]]:
    """Return the targets of each chain's rules, in order: {"KUBE-SERVICES": ["KUBE-SVC-...", ...], ...}.

    A DNAT rule reads "DNAT 10.0.0.1:80"; a rule without a target reads "". Raises `FeatureMissing` without
    python-iptables, `LockHeld` when the lock does not come free in 5 s, `KernelError` when the table can't be read.
    """
    try:
        import iptc
    except ImportError:
        raise FeatureMissing("python-iptables is not installed", remedy="pip install 'kproxy[legacy-reader]'") from None
    kind = iptc.Table if family == Family.IPV4 else iptc.Table6
    with xtables_lock():
        try:
            held = kind(table)
            held.refresh()
            return {chain.name: [_target(rule) for rule in chain.rules] for chain in held.chains}
        except iptc.IPTCError as error:
            raise KernelError(f"read the legacy table {table} ({family}): {error}") from None


@contextmanager
def xtables_lock(wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock that iptables-legacy takes. Raises `LockHeld` naming who has it."""
    path = lock_path()
    with path.open("a", encoding="ascii") as file:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = lock_holder(path) or "another program"
                    raise LockHeld(f"the xtables lock is held by {holder}", remedy="try again") from None
                time.sleep(LOCK_POLL_S)
        yield


def _target(rule: Any) -> str:
    target = rule.target
    if target is None:
        return ""
    name = str(target.name or "")
    destination = target.parameters.get("to_destination", "") if name == "DNAT" else ""
    return f"{name} {destination}".strip()
