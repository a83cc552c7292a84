"""What a first sync would write into an empty kernel, in the words of ipvsadm, ip and nft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dataplane.addresses import VIP_LINK
from kproxy.dataplane.nftables.ruleset_for import options_for
from kproxy.plan.ipvs.filter import IPVS, VIPS
from kproxy.plan.ipvs.frontends import IpvsSettings
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.plan.ipvs.text import render_servers
from kproxy.plan.nftables.packing import pack_ip
from kproxy.plan.nftables.ruleset import NftablesRuleset
from kproxy.plan.nftables.text import render_table

if TYPE_CHECKING:
    from kproxy.config import Config
    from kproxy.plan.family import FamilyPlan
    from kproxy.state.cluster import ClusterState


def render_ipvs(config: Config, state: ClusterState, plan: FamilyPlan) -> str:
    """Return three parts: input of `ipvsadm -R`, commands of `ip`, input of `nft -f`; a comment is before each."""
    family, node_ip = plan.family, state.node.ips[plan.family]
    servers = IpvsServers(IpvsSettings(config.ipvs.scheduler))
    servers.configure(IpvsSettings(config.ipvs.scheduler, (node_ip,), (node_ip,)), elsewhere=(node_ip,))
    ruleset = NftablesRuleset(family, IPVS)
    ruleset.configure(options_for(config, state.node, family, (node_ip,)))
    for key, intents in plan.intents.items():
        servers.set_service(key, intents)
        ruleset.set_service(key, intents)
    for ip in servers.addresses:
        ruleset.set_element(VIPS, pack_ip(ip), wanted=True)
    ruleset.difference()
    addresses = [f"ip address add {ip}/{family.bits} dev {VIP_LINK}" for ip in sorted(servers.addresses)]
    return "\n".join(
        [
            "# ipvsadm -R",
            *render_servers(servers.difference()),
            "# sh",
            f"ip link add {VIP_LINK} type dummy",
            *addresses,
            "# nft -f",
            render_table(ruleset.table(), ruleset.elements()),
        ]
    )
