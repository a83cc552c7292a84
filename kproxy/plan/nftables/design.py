"""What a mode has in its table. The nftables mode and the IPVS mode share the ruleset and differ in this."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.nftables.filter import filter_elements
from kproxy.plan.nftables.layout import base_table
from kproxy.plan.nftables.nat import frontends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.nftables.filter import Element
    from kproxy.plan.nftables.layout import LayoutOptions
    from kproxy.plan.nftables.model import Table
    from kproxy.plan.nftables.nat import FrontendPlan
    from kproxy.state.addresses import Family


class Design(NamedTuple):
    """The table without any Service; what a service port adds, and what of it is translated, given the node's address.

    The address is that of the port's family, "" if unknown.
    """

    base_table: Callable[[Family, LayoutOptions], Table]
    elements: Callable[[PortIntent, str], Iterable[Element]]
    frontends: Callable[[PortIntent, str], Iterable[FrontendPlan]]


NFTABLES = Design(base_table, filter_elements, lambda intent, _node_ip: frontends(intent))
