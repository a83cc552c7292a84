"""kproxy cleanup: remove every rule of kproxy, and what can be told to be kube-proxy's, from this node."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from kproxy.cli.values import COMMA_LIST
from kproxy.config_values import excluded_cidrs
from kproxy.dataplane.iptables.binaries import VARIANTS, find_binaries
from kproxy.dataplane.iptables.leftovers import installed_tools, remove_chains
from kproxy.dataplane.ipvs.ipsets import remove_kube_proxy_sets
from kproxy.dataplane.ipvs.leftovers import remove_ipvs
from kproxy.dataplane.nftables.leftovers import KUBE_PROXY, remove_tables
from kproxy.dns.server.local import remove_leftovers
from kproxy.errors import FeatureMissing, KernelError
from kproxy.plan.nftables import untracked
from kproxy.plan.nftables.layout import TABLE
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.dataplane.iptables.tool import IptablesTool


@click.command()
@click.option(
    "--ipvs-exclude-cidrs", type=COMMA_LIST, default=(), help="Addresses whose virtual servers are not deleted."
)
def cleanup(ipvs_exclude_cidrs: tuple[str, ...]) -> None:
    """Remove all rules of kproxy from this node, whatever made them; it needs no memory of what was there."""
    clean_up(ipvs_exclude_cidrs)


def clean_up(ipvs_exclude_cidrs: tuple[str, ...] = ()) -> None:
    """Clean up after every mode, and say what was removed. The CIDRs are those of --ipvs-exclude-cidrs.

    What fails does not keep the rest from it; the `KernelError` at the end names all that did.
    """
    failures: list[str] = []
    excluded = excluded_cidrs(ipvs_exclude_cidrs)
    found = _attempt(partial(_clean_up_servers, excluded), "ipvs", failures)
    found = _attempt(_clean_up_tables, "nftables", failures) or found
    tools = installed_tools()
    if not tools and not any(find_binaries(family, variant) for family in FAMILIES for variant in VARIANTS):
        if not found:
            raise FeatureMissing("iptables-restore is not installed", remedy="install the package iptables")
        click.echo("iptables is not installed: its tables were not looked at")
    for tool in tools:
        _attempt(partial(_clean_up_chains, tool), f"{tool.family} ({tool.variant})", failures)
    _attempt(_clean_up_sets, "ipset", failures)
    if failures:
        raise KernelError("; ".join(failures))


def _attempt(clean: Callable[[], bool], where: str, failures: list[str]) -> bool:
    try:
        return clean()
    except KernelError as error:
        failures.append(f"{where}: {error}")
        return False


def _clean_up_servers(excluded: tuple[str, ...]) -> bool:
    found = False
    for what in remove_ipvs(excluded):
        click.echo(f"{what} removed")
        found = True
    return found


def _clean_up_sets() -> bool:
    """Remove kube-proxy's ipsets, which its rules are not to refer to any more."""
    sets = list(remove_kube_proxy_sets())
    for what in sets:
        click.echo(f"{what} removed")
    return bool(sets)


def _clean_up_tables() -> bool:
    tables = [*remove_tables([TABLE, KUBE_PROXY, untracked.TABLE]), *remove_leftovers()]
    for table in tables:
        click.echo(f"{table} removed")
    return bool(tables)


def _clean_up_chains(tool: IptablesTool) -> bool:
    chains, in_use = remove_chains(tool)
    click.echo(f"{tool.family} ({tool.variant}): {chains} chains removed")
    for chain, user in sorted(in_use.items()):
        click.echo(f"{tool.family} ({tool.variant}): {chain} is emptied but stays: {user} jumps to it")
    return bool(chains)
