"""A configuration and what is known of the node shape a ruleset: for the agent and for `render`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.local_traffic import local_traffic
from kproxy.plan.nftables.layout import LayoutOptions
from kproxy.plan.nftables.ruleset import NftablesRuleset, RulesetOptions
from kproxy.plan.node_ports import parse_node_port_addresses

if TYPE_CHECKING:
    from kproxy.config import Config
    from kproxy.plan.family import FamilyPlan
    from kproxy.state.addresses import Family
    from kproxy.state.cluster import ClusterState
    from kproxy.state.node import NodeInfo


def options_for(
    config: Config, node: NodeInfo, family: Family, addresses: tuple[str, ...], service_cidrs: tuple[str, ...] = ()
) -> RulesetOptions:
    """Return the settings of one family; `addresses` are the node's, `service_cidrs` the cluster's, of that family.

    Node ports are never served on loopback addresses, as in kube-proxy's nftables mode.
    """
    node_ports = parse_node_port_addresses(config.node_port_addresses, node.ips)
    everywhere = node_ports.matches_all(family)
    serving = () if everywhere else node_ports.matching(family, addresses)
    return RulesetOptions(
        layout=LayoutOptions(
            local=local_traffic(config.local, node, family),
            masquerade_all=config.masquerade_all,
            mark=1 << config.masquerade_bit,
            all_node_port_ips=everywhere,
            service_cidrs=service_cidrs,
            count_services=config.connection_counters != "none",
            count_endpoints=config.connection_counters == "endpoints",
        ),
        node_ip=node.ips[family],
        node_port_ips=tuple(ip for ip in serving if not (ip.startswith("127.") or ip == "::1")),
    )


def render_nftables(config: Config, state: ClusterState, plan: FamilyPlan) -> str:
    """Return the table that a first sync would write into an empty kernel, as `nft -f` takes it."""
    from kproxy.plan.nftables.text import render_table  # the agent itself writes no text

    ruleset = NftablesRuleset(plan.family)
    addresses, cidrs = (state.node.ips[plan.family],), state.service_cidrs[plan.family]
    ruleset.configure(options_for(config, state.node, plan.family, addresses, cidrs))
    for key, intents in plan.intents.items():
        ruleset.set_service(key, intents)
    ruleset.difference()
    return render_table(ruleset.table(), ruleset.elements())
