"""kproxy config: the effective configuration, and where each value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED, Flag, config_option, flag_options, verbosity_option
from kproxy.cli.settings import gather
from kproxy.cli.values import DURATION
from kproxy.config import build_config
from kproxy.kube.login import without_secret
from kproxy.settings.durations import format_duration

if TYPE_CHECKING:
    from kproxy.config import Config

VERBOSITY = Flag("v", int, 0, "Log level.")


@click.command()
@flag_options(OWN_FLAGS, SETTINGS)
@verbosity_option
@config_option
@click.option("--all", "everything", is_flag=True, help="Also print what stands at its default.")
@flag_options(UNUSED)
@click.pass_context
def config(context: click.Context, /, everything: bool, **values: Any) -> None:
    """Print the configuration that `run` with the same flags would have, and where each value comes from.

    A line is SETTING, VALUE and ORIGIN: a flag, a field of the file, or the default. Nothing else is done; what is
    wrong is named as `run` names it.
    """
    merged, warnings = gather(context, values)
    decided = _decided(build_config(merged.values, merged.origins))
    for warning in warnings:
        click.echo(f"# {warning}")
    given = {**merged.values, **decided, VERBOSITY.key: merged.values["verbosity"]}
    origins = {VERBOSITY.key if key == "verbosity" else key: origin for key, origin in merged.origins.items()}
    rows = [
        (flag.name, _text(flag, given.get(flag.key)), origins.get(flag.key, "default"))
        for flag in (*SETTINGS, VERBOSITY, *OWN_FLAGS)
        if everything or flag.key in origins
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, value, origin in rows:
        click.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}")


def _decided(config: Config) -> dict[str, Any]:
    """Return those settings by flag key whose value is not always as it was given."""
    return {
        "hostname_override": config.node_name,
        "proxy_mode": config.proxy_mode,
        "healthz_bind_address": config.healthz_bind_address,
        "metrics_bind_address": config.metrics_bind_address,
        "nodeport_addresses": config.node_port_addresses,
    }


def _text(flag: Flag, value: Any) -> str:
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    if flag.key == "master":
        return without_secret(value)
    return format_duration(value) if flag.type is DURATION else str(value)
