"""Removes the chains of kproxy's and kube-proxy's iptables mode, whichever variant they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.dataplane.iptables.binaries import VARIANTS, find_binaries, legacy_tables
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.plan.iptables.cleanup import cleanup
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Mapping


class Removed(NamedTuple):
    """How many chains went, and those that could only be emptied, each with the foreign chain that jumps to it."""

    chains: int
    in_use: Mapping[str, str]


def installed_tools() -> list[IptablesTool]:
    """Return the tools of both variants and families; the legacy ones only where there are such tables."""
    return [
        IptablesTool(binaries)
        for variant in VARIANTS
        for family in FAMILIES
        if (binaries := find_binaries(family, variant)) and (variant == "nft" or legacy_tables(family))
    ]


def remove_chains(tool: IptablesTool, *, only_ipvs: bool = False) -> Removed:
    """Remove all chains of ours, and every jump to them from a built-in chain. Raises `KernelError`.

    `only_ipvs`: only those of kube-proxy's IPVS mode that the iptables mode has not.
    """
    restore, in_use = cleanup(tool.save(), only_ipvs=only_ipvs)
    if restore.lines:
        tool.restore(restore)
    return Removed(sum(line.startswith("-X ") for line in restore.lines), in_use)
