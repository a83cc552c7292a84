"""kproxy render: what would reach the kernel, printed in the mode's own language."""

from __future__ import annotations

import sys
from typing import Any

import click

from kproxy.cli.flags import PROXY_FLAGS, SETTINGS, UNUSED, config_option, flag_options, verbosity_option
from kproxy.cli.settings import gather
from kproxy.cli.snapshot import snapshot
from kproxy.config import build_config
from kproxy.errors import ConfigError
from kproxy.modes import mode
from kproxy.plan.family import FamilyPlan
from kproxy.plan.reasons import reasons
from kproxy.state.addresses import Family


@click.command()
@flag_options(PROXY_FLAGS, SETTINGS)
@verbosity_option
@config_option
@click.option("--ip-family", type=click.Choice(["ipv4", "ipv6"]), default="ipv4", show_default=True)
@flag_options(UNUSED)
@click.pass_context
def render(context: click.Context, /, ip_family: str, **values: Any) -> None:
    """Print what would reach the kernel for a directory of manifests. Needs no privileges and changes nothing.

    Comments say what is handed to DNS, which endpoints are passed over, and what is refused, each with the reason.
    The output is input of `iptables-restore --noflush` (`ip6tables-restore` with --ip-family ipv6), in nftables mode of
    `nft -f`. Objects that are refused are named on standard error; the exit code is 0 all the same, as the others go
    on.
    """
    merged, _ = gather(context, values)
    config = build_config(merged.values, merged.origins)
    if config.manifests is None:
        raise ConfigError("--manifests", "is missing", remedy="give a directory of YAML or JSON manifests")
    family = Family.IPV4 if ip_family == "ipv4" else Family.IPV6
    state, batch = snapshot(config)
    plan = FamilyPlan(family)
    plan.update(state, state.services)
    for problem in (*batch.problems, *state.problems()):
        print(f"refused: {problem}", file=sys.stderr)
    for key, why in state.handed_to_dns().items():
        click.echo(f"# handed to DNS: {key} ({why})")
    for key in sorted(plan.intents):
        for line in (line for intent in plan.intents[key] for line in reasons(intent)):
            click.echo(f"# {line}")
    click.echo(mode(config.proxy_mode).render(config, state, plan), nl=False)
