"""Counters that rules of the iptables mode keep, read when a scraper asks.

kube-proxy keeps them in nfacct objects, for which many kernels have no module; a rule's own counter tells the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kproxy.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.dataplane.iptables.tool import IptablesTool

log = logging.getLogger(__name__)


def invalid_dropped(tools: Sequence[IptablesTool]) -> int | None:
    """Return the packets of both families that were dropped because conntrack can't place them."""
    return _sum(tools, "filter", "KUBE-FORWARD", "--ctstate INVALID")


def localhost_node_ports(tools: Sequence[IptablesTool]) -> int | None:
    """Return the connections to node ports on 127.0.0.1."""
    return _sum(tools, "nat", "KUBE-POSTROUTING", "--ctorigdst 127.0.0.0/8")


def _sum(tools: Sequence[IptablesTool], table: str, chain: str, rule: str) -> int | None:
    try:
        counts = [tool.packets(table, chain, rule) for tool in tools]
    except KernelError as error:
        log.debug("counters of %s can't be read: %s", chain, error)
        return None
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
