"""kproxy dns: the DNS server, without a proxy around it."""

from __future__ import annotations

from typing import Any

import click

from kproxy.cli.flags import DNS_FLAGS, LOGGING_FORMAT, SOURCE_FLAGS, flag_options, flatten, verbosity_option
from kproxy.logs import set_up_logging


@click.command()
@flag_options(SOURCE_FLAGS, DNS_FLAGS, (LOGGING_FORMAT,))
@verbosity_option
def dns(**values: Any) -> None:
    """Answer for the cluster's names, and forward all others."""
    # Late: the server pulls in what the other verbs can do without.
    from kproxy.dns.server.config import build_dns_config
    from kproxy.dns.server.service import run_dns

    config = build_dns_config(flatten(values))
    set_up_logging(config.verbosity, config.logging_format)
    run_dns(config)
