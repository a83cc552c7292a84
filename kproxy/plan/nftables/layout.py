"""The table without any Service: its sets, its hooks and the chains that are always there.

`rules/nftables/base.nft` says the same in nft's language, and a test holds both together. The layout has two halves.
The packet filter (refusals, source ranges, masquerading, hairpin) knows nothing of how a packet gets to an endpoint;
the translation is the part that the kernel's NAT does in this mode.

Names are those of kube-proxy's table where they mean the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.local_traffic import LocalTraffic
from kproxy.plan.nftables import picks
from kproxy.plan.nftables import rules as r
from kproxy.plan.nftables.expressions import Lookup, Masquerade, Reject, Verdict, load_address
from kproxy.plan.nftables.model import L4PROTO, SLOT, TH_DPORT, VERDICTS, Chain, Hook, SetSpec, Table
from kproxy.plan.nftables.packing import destination_field, source_field
from kproxy.state.addresses import Family
from kproxy.state.service import PROTOCOLS

if TYPE_CHECKING:
    from kproxy.plan.nftables.rules import Expressions

TABLE = "kproxy"
LAYOUT = "kproxy, layout 1"
"""The table's comment. A table with another one was made by another version, and is replaced as a whole."""

CLUSTER_IPS = "cluster-ips"
NODE_PORT_IPS = "nodeport-ips"
NO_ENDPOINTS = "no-endpoint-services"
NO_ENDPOINT_NODE_PORTS = "no-endpoint-nodeports"
FIREWALLED = "firewall-ips"
SOURCE_RANGES = "firewall-ranges"
HAIRPINS = "hairpins"
SERVICES = "service-ips"
NODE_PORTS = "service-nodeports"
ENDPOINTS = picks.ENDPOINTS
NODE_PORT_ENDPOINTS = picks.NODE_PORT_ENDPOINTS
AFFINITY = "affinity"
AFFINITY_SERVICES = "affinity-services"
AFFINITY_NODE_PORTS = "affinity-nodeports"

REFUSE = "reject-chain"
MARK = "mark-for-masquerade"

MAX_PINS = 1 << 20
"""Clients with session affinity that a family can have; beyond, new ones are balanced as if there was none."""

BEFORE_DNAT = -110
DNAT = -100
FILTER = 0
LEARN = 90
SNAT = 100


class LayoutOptions(msgspec.Struct, frozen=True):
    """What shapes chains, and no element.

    `mark` asks for masquerading. `all_node_port_ips`: every local address but loopback serves node ports; otherwise
    those in the set `nodeport-ips` do. In `service_cidrs` of the family, an address without a Service is nobody's.
    `count_services`, `count_endpoints`: each frontend, and each endpoint of it, counts its new connections.
    """

    local: LocalTraffic = LocalTraffic()
    masquerade_all: bool = False
    mark: int = 0x4000
    all_node_port_ips: bool = False
    service_cidrs: tuple[str, ...] = ()
    count_services: bool = False
    count_endpoints: bool = False


_PLAIN = LayoutOptions()


def filter_sets(family: Family) -> tuple[SetSpec, ...]:
    """Return the sets of the packet filter."""
    source, destination = source_field(family), destination_field(family)
    service = (destination, L4PROTO, TH_DPORT)
    return (
        SetSpec(CLUSTER_IPS, (destination,)),
        SetSpec(NODE_PORT_IPS, (destination,)),
        SetSpec(NO_ENDPOINTS, service, VERDICTS),
        SetSpec(NO_ENDPOINT_NODE_PORTS, (L4PROTO, TH_DPORT), VERDICTS),
        SetSpec(FIREWALLED, service),
        SetSpec(SOURCE_RANGES, (*service, source), interval=True),
        SetSpec(HAIRPINS, (source, destination)),
    )


def nat_sets(family: Family, options: LayoutOptions = _PLAIN) -> tuple[SetSpec, ...]:
    """Return the sets of the translation."""
    source, destination = source_field(family), destination_field(family)
    service, node_port, endpoint = (destination, L4PROTO, TH_DPORT), (L4PROTO, TH_DPORT), (destination, TH_DPORT)
    pin = (source, *service)
    return (
        SetSpec(SERVICES, service, VERDICTS, counter=options.count_services),
        SetSpec(NODE_PORTS, node_port, VERDICTS, counter=options.count_services),
        SetSpec(ENDPOINTS, (*service, SLOT), endpoint, counter=options.count_endpoints),
        SetSpec(NODE_PORT_ENDPOINTS, (*node_port, SLOT), endpoint, counter=options.count_endpoints),
        SetSpec(AFFINITY, pin, endpoint, dynamic=True, timeout_ms=0, size=MAX_PINS),
        SetSpec(AFFINITY_SERVICES, service, VERDICTS),
        SetSpec(AFFINITY_NODE_PORTS, node_port, VERDICTS),
    )


def filter_chains(family: Family, options: LayoutOptions) -> tuple[Chain, ...]:
    """Return the chains of the packet filter."""
    service, new = r.frontend(family), r.connection_is_new()
    ranges = (*service, load_address(family, "saddr", r.address_registers(family) + 2))
    refused = r.rule(new, r.jump("service-endpoints-check"))
    invented = r.rule(new, r.jump("cluster-ips-check"))
    walled = r.rule(new, r.jump("firewall-check"))
    return (
        refusing(),
        Chain(MARK, (r.rule(r.set_mark(options.mark)),)),
        Chain(
            "firewall-check",
            (r.rule(r.in_set(service, FIREWALLED), ranges, Lookup(SOURCE_RANGES, 0, invert=True), Verdict("drop")),),
        ),
        Chain("service-endpoints-check", (r.rule(r.vmap(service, NO_ENDPOINTS)),)),
        Chain(
            "nodeport-endpoints-check",
            (r.rule(_to_node_port(family, options), r.vmap(r.NODE_PORT, NO_ENDPOINT_NODE_PORTS)),),
        ),
        Chain(
            "cluster-ips-check",
            (
                r.rule(r.in_set(r.load(family, "daddr"), CLUSTER_IPS), r.goto(REFUSE)),
                *(
                    r.rule(r.address_in(family, "daddr", cidr), Verdict("drop"), comment="no Service has this address")
                    for cidr in options.service_cidrs
                ),
            ),
        ),
        masquerading(family, options),
        Chain("filter-prerouting-pre-dnat", (walled,), Hook("filter", "prerouting", BEFORE_DNAT)),
        Chain("filter-output-pre-dnat", (walled,), Hook("filter", "output", BEFORE_DNAT)),
        Chain(
            "filter-input",
            (r.rule(new, r.jump("nodeport-endpoints-check")), refused),
            Hook("filter", "input", FILTER),
        ),
        Chain("filter-forward", (refused, invented), Hook("filter", "forward", FILTER)),
        Chain("filter-output", (refused, invented), Hook("filter", "output", FILTER)),
        Chain("nat-postrouting", (r.rule(r.jump("masquerading")),), Hook("nat", "postrouting", SNAT)),
    )


def refusing() -> Chain:
    """Return the chain that refuses: TCP by a reset, all else by ICMP."""
    return Chain(REFUSE, (r.rule(r.protocol_is("TCP"), Reject(with_reset=True)), r.rule(Reject())))


def masquerading(family: Family, options: LayoutOptions, *, only_translated: bool = True) -> Chain:
    """Return the chain that masquerades what is marked, and endpoints that meet themselves.

    `only_translated`: these only if this kernel's NAT led them there.
    """
    translated = r.was_translated() if only_translated else ()
    return Chain(
        "masquerading",
        (
            r.rule(translated, r.in_set(_pair(family), HAIRPINS), r.jump(MARK)),
            r.rule(r.mark_is_absent(options.mark), Verdict("return")),
            r.rule(r.flip_mark(options.mark)),
            r.rule(Masquerade(fully_random=True)),
        ),
    )


def nat_chains(family: Family, options: LayoutOptions) -> tuple[Chain, ...]:
    """Return the chains of the translation; they use the chain that sets the mark."""
    by_protocol = [r.protocol_is(protocol) for protocol in PROTOCOLS]
    return (
        *picks.prepared_picks(family),
        Chain(
            "services",
            (
                r.rule(r.vmap(r.frontend(family), SERVICES)),
                r.rule(_to_node(family, options), r.vmap(r.NODE_PORT, NODE_PORTS)),
            ),
        ),
        Chain("nat-prerouting", (r.rule(r.jump("services")),), Hook("nat", "prerouting", DNAT)),
        Chain("nat-output", (r.rule(r.jump("services")),), Hook("nat", "output", DNAT)),
        Chain(
            "affinity-learn",
            (
                r.rule(r.connection_is_not_new(), Verdict("accept")),
                r.rule(r.was_not_translated(), Verdict("accept")),
                *(r.rule(it, r.vmap(r.original_frontend(family), AFFINITY_SERVICES)) for it in by_protocol),
                *(r.rule(it, r.vmap(r.ORIGINAL_NODE_PORT, AFFINITY_NODE_PORTS)) for it in by_protocol),
            ),
            Hook("filter", "postrouting", LEARN),
        ),
    )


def base_table(family: Family, options: LayoutOptions) -> Table:
    """Return the whole table without any Service."""
    return Table(
        family,
        TABLE,
        comment=LAYOUT,
        sets=(*filter_sets(family), *nat_sets(family, options)),
        chains=(*filter_chains(family, options), *nat_chains(family, options)),
    )


def _to_node(family: Family, options: LayoutOptions) -> Expressions:
    """Match packets to an address that serves node ports, wherever they are going."""
    local = r.address_type_is_local("daddr") if options.all_node_port_ips else ()
    return (*local, *_to_node_port(family, options))


def _to_node_port(family: Family, options: LayoutOptions) -> Expressions:
    """Match packets to an address that serves node ports, of those that are for this node."""
    if options.all_node_port_ips:
        loopback = "127.0.0.0/8" if family is Family.IPV4 else "::1/128"
        return r.address_in(family, "daddr", loopback, invert=True)
    return r.in_set(r.load(family, "daddr"), NODE_PORT_IPS)


def _pair(family: Family) -> Expressions:
    return (load_address(family, "saddr", 0), load_address(family, "daddr", r.address_registers(family)))
