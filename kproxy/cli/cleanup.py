"""kproxy cleanup: remove every rule of kproxy (and of kube-proxy's iptables mode) from this node."""

from __future__ import annotations

import click

from kproxy.dataplane.iptables.binaries import VARIANTS, find_binaries, legacy_tables
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.errors import FeatureMissing, KernelError
from kproxy.plan.iptables.cleanup import cleanup as plan_cleanup
from kproxy.state.addresses import FAMILIES


@click.command()
def cleanup() -> None:
    """Remove all rules of kproxy from this node, whatever made them; it needs no memory of what was there."""
    clean_up()


def clean_up() -> None:
    """Clean both variants and families up, and say what was removed.

    One that fails does not keep the others from it; the `KernelError` at the end names all that did.
    """
    tools = [
        IptablesTool(binaries)
        for variant in VARIANTS
        for family in FAMILIES
        if (binaries := find_binaries(family, variant)) and (variant == "nft" or legacy_tables(family))
    ]
    if not tools and not any(find_binaries(family, variant) for family in FAMILIES for variant in VARIANTS):
        raise FeatureMissing("iptables-restore is not installed", remedy="install the package iptables")
    failures = []
    for tool in tools:
        try:
            _clean_up_one(tool)
        except KernelError as error:
            failures.append(f"{tool.family} ({tool.variant}): {error}")
    if failures:
        raise KernelError("; ".join(failures))


def _clean_up_one(tool: IptablesTool) -> None:
    restore, in_use = plan_cleanup(tool.save())
    if restore.lines:
        tool.restore(restore)
    removed = sum(line.startswith("-X ") for line in restore.lines)
    click.echo(f"{tool.family} ({tool.variant}): {removed} chains removed")
    for chain, user in sorted(in_use.items()):
        click.echo(f"{tool.family} ({tool.variant}): {chain} is emptied but stays: {user} jumps to it")
