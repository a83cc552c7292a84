"""Takes over from what served Services on this node before: another mode of kproxy, or kube-proxy.

After the first sync: by then our own rules are in place, and connections go on while the others go.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from kproxy.dataplane.iptables.leftovers import installed_tools, remove_chains
from kproxy.dataplane.ipvs.ipsets import has_kube_proxy_sets, remove_kube_proxy_sets
from kproxy.dataplane.ipvs.letting_go import let_go_of_ipvs
from kproxy.dataplane.nftables.leftovers import KUBE_PROXY, remove_tables
from kproxy.errors import KernelError
from kproxy.plan.nftables.layout import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kproxy.dataplane.iptables.tool import IptablesTool

log = logging.getLogger(__name__)

ATTEMPTS: Final = 30
"""What can't be removed in so many (five minutes: the agent's are 10 s apart) is left."""


class Leftovers:
    """What is left of every mode but this one, and of kube-proxy; virtual servers in `excluded_cidrs` are foreign.

    Rules go at the first call, or, where that failed (somebody holds the xtables lock, say), at one of the next
    `ATTEMPTS`. What IPVS mode leaves goes as its connections end: call again until nothing is left.
    """

    def __init__(self, mode: str, excluded_cidrs: tuple[str, ...] = ()) -> None:
        self._mode = mode
        self._excluded = excluded_cidrs
        self._attempts_left = ATTEMPTS
        self._tables_stay = self._chains_stay = self._sets_stay = True
        self._told: set[str] = set()

    def remove(self) -> bool:
        """Remove what can go now, and say what did; return whether to call again: something stays that will go."""
        self._attempts_left -= 1
        self._tables_stay = self._tables_stay and not self._done(partial(_remove_tables, self._mode))
        # Before kube-proxy's rules go, which keep the host's own ports from view behind VIPs.
        done, staying = self._let_go()
        self._chains_stay = self._chains_stay and not self._done(partial(_remove_chains, self._mode))
        # They say which virtual servers are kube-proxy's, and its rules use them.
        if done and not self._chains_stay:
            self._sets_stay = self._sets_stay and not self._done(remove_kube_proxy_sets)
        return staying or not done or self._tables_stay or self._chains_stay or self._sets_stay

    def _done(self, remove: Callable[[], Iterable[str]]) -> bool:
        """Remove rules; tell whether that is over: they went, or would not go in all that time."""
        try:
            _tell_removed(remove())
        except KernelError as error:
            over = self._attempts_left <= 0
            self._tell(logging.WARNING, f"rules of another proxy stay{'' if over else ' for now'}: {error}")
            return over
        return True

    def _let_go(self) -> tuple[bool, bool]:
        """Let go of virtual servers; return whether that could be done, and whether some stay."""
        if self._mode == "ipvs":
            return True, False
        try:
            removed, staying = let_go_of_ipvs(self._excluded)
        except KernelError as error:
            self._tell(logging.WARNING, f"virtual servers of another proxy stay for now: {error}")
            return False, True
        _tell_removed(removed)
        if staying:
            self._tell(logging.INFO, f"{staying} virtual servers of another proxy stay until their connections end")
        return True, bool(staying)

    def _tell(self, level: int, text: str) -> None:
        if text not in self._told:
            log.log(level, "%s", text)
            self._told.add(text)


def _tell_removed(removed: Iterable[str]) -> None:
    for what in removed:
        log.info("took over from another proxy: removed %s", what)


def _remove_tables(mode: str) -> Iterator[str]:
    ours = [TABLE] if mode != "nftables" else []
    yield from remove_tables([*ours, KUBE_PROXY])


def _tools(mode: str) -> list[IptablesTool]:
    # In iptables mode the chains have the same names in both programs, and are ours now; but for a few of IPVS mode's.
    with contextlib.suppress(KernelError):
        if mode == "iptables" and not has_kube_proxy_sets():
            return []
    return installed_tools()


def _remove_chains(mode: str) -> Iterator[str]:
    """Remove the chains of every tool; one that fails does not keep the others from it."""
    failed: list[KernelError] = []
    for tool in _tools(mode):
        try:
            removed = remove_chains(tool, only_ipvs=mode == "iptables")
        except KernelError as error:
            failed.append(error)
            continue
        if removed.chains:
            yield f"{removed.chains} {tool.family} chains of iptables ({tool.variant})"
    if failed:
        raise failed[0]
