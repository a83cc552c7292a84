"""kproxy run: the agent. It takes kube-proxy's command line as it is."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from kproxy.cli.cleanup import clean_up
from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED, flag_options, flatten, verbosity_option, without_effect
from kproxy.cli.logs import set_up_logging
from kproxy.cli.values import BOOLEAN
from kproxy.cli.version import version_text
from kproxy.config import build_config
from kproxy.errors import ConfigError

NOT_YET = {
    "config": "configuration files are not read by this version",
    "write_config_to": "configuration files are not written by this version",
}


@click.command()
@flag_options(OWN_FLAGS, SETTINGS)
@verbosity_option
@click.option("--cleanup", type=BOOLEAN, is_flag=False, flag_value="true", help="Do what `kproxy cleanup` does.")
@click.option("--init-only", type=BOOLEAN, is_flag=False, flag_value="true", help="Set the sysctls and exit.")
@click.option("--version", "show_version", is_flag=True, help="Print the version and exit.")
@click.option("--config", default="", help="Configuration file [not read by this version].")
@click.option("--write-config-to", default="", help="Write the defaults to a file [not done by this version].")
@flag_options(UNUSED)
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Follow Services and endpoints, and keep the kernel's rules in step."""
    if values["show_version"]:
        click.echo(version_text())
        return
    log = set_up_logging(values["verbosity"])
    given = {key: value for key, value in values.items() if _given(context, key)}
    for key, why in NOT_YET.items():
        if values[key]:
            raise ConfigError(f"--{key.replace('_', '-')}", why, remedy="give the settings as flags")
    for line in without_effect(given):
        log.warning("%s", line)
    if values["cleanup"]:
        clean_up()
        return
    config = build_config(flatten(values))
    for gate in config.ignored_gates:
        log.warning("--feature-gates: %s has no effect in kproxy", gate)
    # Late: the agent pulls in every part of the program, which `render` and `version` can do without.
    from kproxy.agent import run_agent
    from kproxy.dataplane.iptables.start import set_sysctls

    if values["init_only"]:
        set_sysctls(config)
        return
    run_agent(config)


def _given(context: click.Context, key: str) -> bool:
    return context.get_parameter_source(key) is ParameterSource.COMMANDLINE
