"""kproxy run: the agent. It takes kube-proxy's command line as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED, config_option, flag_options, flatten, verbosity_option
from kproxy.cli.settings import gather
from kproxy.cli.values import BOOLEAN
from kproxy.cli.version import version_text
from kproxy.config import build_config
from kproxy.errors import ConfigError
from kproxy.logs import set_up_logging
from kproxy.settings.written import configz, write_settings


@click.command()
@flag_options(OWN_FLAGS, SETTINGS)
@verbosity_option
@click.option("--cleanup", type=BOOLEAN, is_flag=False, flag_value="true", help="Do what `kproxy cleanup` does.")
@click.option("--init-only", type=BOOLEAN, is_flag=False, flag_value="true", help="Set the sysctls and exit.")
@click.option(
    "--version",
    "show_version",
    type=click.Choice(["true", "false", "raw"]),
    default="false",
    is_flag=False,
    flag_value="true",
    metavar="[=true|false|raw]",
    help="Print the version and exit.",
)
@config_option
@click.option("--write-config-to", default="", help="Write the configuration to this file and exit.")
@flag_options(UNUSED)
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Follow Services and endpoints, and keep the kernel's rules in step."""
    if values["show_version"] != "false":
        click.echo(version_text())
        return
    if values["cleanup"]:
        set_up_logging(values["verbosity"])
        from kproxy.cli.cleanup import clean_up

        clean_up(flatten(values)["ipvs_exclude_cidrs"])
        return
    merged, warnings = gather(context, values)
    config = build_config(merged.values, merged.origins)
    log = set_up_logging(merged.values["verbosity"], config.logging_format)
    for line in warnings:
        log.warning("%s", line)
    if values["write_config_to"]:
        _write(Path(values["write_config_to"]), write_settings(merged.values, merged.origins))
        return
    for gate in config.ignored_gates:
        log.warning("feature gate %s has no effect in kproxy", gate)
    # Late: the agent pulls in every part of the program, which `render` and `version` can do without.
    from kproxy.modes import mode
    from kproxy.start import run_agent

    if values["init_only"]:
        mode(config.proxy_mode).set_sysctls(config)
        return
    run_agent(replace(config, configz=configz(merged.values, merged.origins)))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        what = f"{path}: {error.strerror}"
        raise ConfigError("--write-config-to", what, remedy="name a file that can be written") from None
