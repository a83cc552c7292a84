"""What IPVS mode has in its nftables table: everything about a packet but which endpoint it goes to.

The packet filter is that of the nftables mode: refusals, source ranges, masquerading, hairpins. Three things differ.
IPVS takes packets where they reach the node (input) or leave a local process (output), so refusals must come before
that. VIPs are addresses of the node here, so their other ports are closed, or every VIP would show the host's own.
And the translation is left to IPVS, but for the short cut: pods and the node itself, which a Local policy does not
bind, are sent to any endpoint by the chains that the nftables mode has for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.intent import FrontendKind, Verdict
from kproxy.plan.ipvs.frontends import served
from kproxy.plan.nftables import layout, nat
from kproxy.plan.nftables import rules as r
from kproxy.plan.nftables.design import Design
from kproxy.plan.nftables.expressions import Verdict as RuleVerdict
from kproxy.plan.nftables.filter import Element, filter_elements
from kproxy.plan.nftables.model import L4PROTO, TH_DPORT, Chain, Hook, SetSpec, Table, verdict_value
from kproxy.plan.nftables.packing import destination_field, pack_frontend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.nftables.layout import LayoutOptions
    from kproxy.plan.nftables.model import Rule
    from kproxy.plan.nftables.nat import FrontendPlan
    from kproxy.state.addresses import Family

TABLE = "kproxy-ipvs"
LAYOUT = "kproxy, IPVS layout 2"

SERVED = "ipvs-services"
VIPS = "ipvs-ips"
DRAINING = "ipvs-draining"
"""Virtual servers that no Service wants: they are there for the connections that they have, and get no new ones."""

_CLUSTER_IP, _EXTERNAL, _VIP_PORTS = "cluster-ip", "external", "ipvs-ips-check"
BEFORE_IPVS = -99
"""In the output hook: after translation (-100), before IPVS (-98: NF_IP_PRI_NAT_DST + 2)."""


def base_table(family: Family, options: LayoutOptions) -> Table:
    """Return the table without any Service."""
    service, destination = r.frontend(family), destination_field(family)
    shared = (*layout.filter_chains(family, options), *layout.nat_chains(family, options))
    chains = {chain.name: chain for chain in shared}
    refusals = chains["filter-input"].rules
    closed = r.rule(r.connection_is_new(), r.jump(_VIP_PORTS))
    own = (
        Chain(_CLUSTER_IP, tuple(_masquerade_cluster_ip(family, options))),
        Chain(_EXTERNAL, (r.rule(r.jump(layout.MARK)),)),
        Chain(
            _VIP_PORTS,
            (
                r.rule(r.in_set(service, SERVED), RuleVerdict("return")),
                r.rule(r.in_set(service, DRAINING), r.goto(layout.REFUSE)),
                r.rule(r.in_set(r.load(family, "daddr"), VIPS), r.goto(layout.REFUSE)),
            ),
        ),
        # IPVS leaves no trace in the connection's status.
        layout.masquerading(family, options, only_translated=False),
        msgspec.structs.replace(chains["filter-input"], rules=(*refusals, closed)),
        Chain("filter-output-pre-ipvs", (*refusals, closed), Hook("filter", "output", BEFORE_IPVS)),
    )
    served, draining = (SetSpec(name, (destination, L4PROTO, TH_DPORT)) for name in (SERVED, DRAINING))
    return Table(
        family,
        TABLE,
        comment=LAYOUT,
        sets=(*layout.filter_sets(family), served, draining, SetSpec(VIPS, (destination,)), *layout.nat_sets(family)),
        # Chains with a hook last: what they jump to must be there.
        chains=tuple(sorted((chains | {chain.name: chain for chain in own}).values(), key=lambda one: bool(one.hook))),
    )


def elements(intent: PortIntent, node_ip: str) -> Iterator[Element]:
    """Yield what one service port adds: the packet filter's, and how each frontend is masqueraded.

    What is sent to an address of the Node itself is neither refused nor translated: no virtual server has it.
    """
    intent = served(intent, (node_ip,))
    yield from filter_elements(intent, node_ip)
    port, name = intent.port, str(intent.port.name)
    internal = pack_frontend(port.cluster_ip, port.protocol, port.port)
    yield Element(SERVED, internal)
    if intent.internal is Verdict.FORWARD:
        yield Element(layout.SERVICES, internal, verdict_value(r.goto(_CLUSTER_IP), name))
    masqueraded = intent.external is Verdict.FORWARD and not port.external_local
    for frontend in intent.external_frontends():
        node_port = frontend.kind is FrontendKind.NODE_PORT
        key = pack_frontend(frontend.ip, port.protocol, frontend.port)
        if not node_port:
            yield Element(SERVED, key)
        if masqueraded:
            where = layout.NODE_PORTS if node_port else layout.SERVICES
            yield Element(where, key, verdict_value(r.goto(_EXTERNAL), name))


def short_cuts(intent: PortIntent, node_ip: str) -> Iterator[FrontendPlan]:
    """Yield the frontends with a Local policy: pods and the node go to any endpoint; the others are left to IPVS."""
    for plan in nat.frontends(served(intent, (node_ip,))):
        if plan.shape.local is not None and plan.lists[0]:
            yield plan._replace(shape=plan.shape._replace(local=0), lists={0: plan.lists[0]})


def _masquerade_cluster_ip(family: Family, options: LayoutOptions) -> Iterator[Rule]:
    if options.masquerade_all:
        yield r.rule(r.jump(layout.MARK))
    elif options.local:
        yield r.rule(r.not_from_pods(family, options.local), r.jump(layout.MARK))
    else:
        # A process of the node that leaves its address to the kernel gets the VIP itself, which every node has.
        yield r.rule(r.in_set(r.load(family, "saddr"), VIPS), r.jump(layout.MARK))


IPVS = Design(base_table, elements, short_cuts)
