"""What to remove when kproxy (or kube-proxy) leaves a node: found by name, not remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.iptables.restore import Restore, target_of
from kproxy.plan.iptables.ruleset import owned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kproxy.plan.iptables.restore import SavedTable


KUBE_PROXY_IPVS = {
    *("KUBE-LOAD-BALANCER", "KUBE-NODE-PORT", "KUBE-PROXY-FIREWALL", "KUBE-SOURCE-RANGES-FIREWALL"),
    *("KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER"),
}
"""Chains of kube-proxy's IPVS mode, besides those with the names of the iptables mode's."""


class Cleanup(NamedTuple):
    """The restore that cleans one family up, and the chains it can only empty, each with the foreign chain using it."""

    restore: Restore
    in_use: dict[str, str]


def cleanup(saved: Mapping[str, SavedTable], *, only_ipvs: bool = False) -> Cleanup:
    """Plan the removal of all chains of ours and of every jump to them from a built-in chain.

    `only_ipvs`: only of those that nobody has but kube-proxy's IPVS mode, which the iptables mode does not write over.
    KUBE-FIREWALL and its jumps stay: the kubelet shares them. A chain of ours that somebody else's chain jumps to is
    emptied and left, because the kernel does not delete a chain in use.
    """
    lines: list[str] = []
    in_use: dict[str, str] = {}
    for table, content in saved.items():
        ours = KUBE_PROXY_IPVS.intersection(content.user_chains)
        if not only_ipvs:
            ours |= {chain for chain in content.user_chains if owned(table, chain)}
        if not ours:
            continue
        jumps: list[str] = []
        kept: dict[str, str] = {}
        for chain, rules in content.rules.items():
            if chain in ours:
                continue
            for rule in rules:
                target = target_of(rule)
                if target not in ours:
                    continue
                if chain in content.user_chains:
                    kept[target] = chain
                else:
                    jumps.append(f"-D {chain} {rule}")
        lines.append(f"*{table}")
        lines += [f":{chain} - [0:0]" for chain in sorted(ours, reverse=True)]
        lines += jumps
        lines += [f"-X {chain}" for chain in sorted(ours - kept.keys())]
        lines.append("COMMIT")
        in_use |= kept
    return Cleanup(Restore(tuple(lines)), in_use)
