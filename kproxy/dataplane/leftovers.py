"""Takes over from what served Services on this node before: another mode of kproxy, or kube-proxy.

Done once, after the first sync: by then our own rules are in place, and connections go on while the others go.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from kproxy.dataplane.iptables.leftovers import installed_tools, remove_chains
from kproxy.dataplane.ipvs.leftovers import remove_ipvs
from kproxy.dataplane.nftables.leftovers import KUBE_PROXY, remove_tables
from kproxy.errors import KernelError
from kproxy.plan.nftables.layout import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kproxy.dataplane.iptables.tool import IptablesTool

log = logging.getLogger(__name__)


def remove_leftovers(mode: str) -> None:
    """Remove the rules of every mode but this one, and say which; what can't be removed is said, and stays."""
    # In iptables mode the chains have the same names in both programs, and are ours now.
    tools = [] if mode == "iptables" else installed_tools()
    chains = [partial(_remove_chains, tool) for tool in tools]
    for remove in (partial(_remove_tables, mode), *chains, partial(_remove_servers, mode)):
        _carefully(remove)


def _carefully(remove: Callable[[], Iterator[str]]) -> None:
    try:
        for what in remove():
            log.info("took over from another proxy: removed %s", what)
    except KernelError as error:
        log.warning("rules of another proxy stay: %s", error)


def _remove_tables(mode: str) -> Iterator[str]:
    ours = [TABLE] if mode != "nftables" else []
    yield from remove_tables([*ours, KUBE_PROXY])


def _remove_servers(mode: str) -> Iterator[str]:
    if mode != "ipvs":
        yield from remove_ipvs()


def _remove_chains(tool: IptablesTool) -> Iterator[str]:
    removed = remove_chains(tool)
    if removed.chains:
        yield f"{removed.chains} {tool.family} chains of iptables ({tool.variant})"
