"""A configuration becomes an empty ruleset, and what is known of the node shapes it: for the agent and for `render`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.iptables.ruleset import IptablesRuleset
from kproxy.plan.iptables.service import RenderOptions
from kproxy.plan.iptables.shared import NodePortDispatch
from kproxy.plan.local_traffic import local_traffic
from kproxy.plan.node_ports import parse_node_port_addresses
from kproxy.rulebook import iptables_skeleton

if TYPE_CHECKING:
    from kproxy.config import Config
    from kproxy.plan.family import FamilyPlan
    from kproxy.state.addresses import Family
    from kproxy.state.cluster import ClusterState
    from kproxy.state.node import NodeInfo


def new_ruleset(config: Config, family: Family, *, drop_invalid: bool = True) -> IptablesRuleset:
    """Return the ruleset of a family without any Service.

    `drop_invalid` is False where the kernel's nf_conntrack_tcp_be_liberal is on.
    """
    skeleton = iptables_skeleton(
        family,
        mark=config.masquerade_mark,
        localhost_node_ports=serves_localhost(config),
        drop_invalid=drop_invalid,
    )
    return IptablesRuleset(family, skeleton)


def configure(ruleset: IptablesRuleset, config: Config, node: NodeInfo, addresses: tuple[str, ...]) -> None:
    """Shape the ruleset by what is known of the node; `addresses` are its local ones of the ruleset's family."""
    family = ruleset.family
    node_ports = parse_node_port_addresses(config.node_port_addresses, node.ips)
    ruleset.configure(
        RenderOptions(
            local=local_traffic(config.local, node, family),
            masquerade_all=config.masquerade_all,
            node_ip=node.ips[family],
        ),
        NodePortDispatch(
            all=node_ports.matches_all(family),
            addresses=node_ports.matching(family, addresses),
            localhost=serves_localhost(config),
        ),
    )


def serves_localhost(config: Config) -> bool:
    """Tell whether node ports are served on 127.0.0.1."""
    node_ports = parse_node_port_addresses(config.node_port_addresses, {})
    return config.localhost_node_ports and node_ports.contains_ipv4_loopback


def render_iptables(config: Config, state: ClusterState, plan: FamilyPlan) -> str:
    """Return the iptables-restore input that a first sync would write into an empty kernel."""
    ruleset = new_ruleset(config, plan.family)
    configure(ruleset, config, state.node, (state.node.ips[plan.family],))
    for key, intents in plan.intents.items():
        ruleset.set_service(key, intents, plan.health_check_node_port(key))
    return ruleset.difference()[0].text
