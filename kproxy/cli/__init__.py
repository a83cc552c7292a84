"""The command line: one file per verb. Verbs that only read (`render`, `version`) need no privileges."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kproxy.cli.cleanup import cleanup
from kproxy.cli.config import config
from kproxy.cli.dns import dns
from kproxy.cli.explain import explain_verb
from kproxy.cli.render import render
from kproxy.cli.run import run
from kproxy.cli.version import version
from kproxy.errors import ConfigError, ConfigErrors, KproxyError

KUBE_PROXY = "kube-proxy"
EXIT_FAILED = 1
EXIT_USAGE = 2


@click.group(
    # kube-proxy takes --cluster_cidr for --cluster-cidr.
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    }
)
def cli() -> None:
    """Make the kernel carry Kubernetes Service traffic: a replacement for kube-proxy."""


for command in (run, explain_verb, dns, render, config, cleanup, version):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error, and exit code 1 or 2.

    Called as `kube-proxy` (a symlink) it takes kube-proxy's own command line.
    """
    if arguments is None and Path(sys.argv[0]).name == KUBE_PROXY:
        arguments = ["run", *sys.argv[1:]]
    try:
        sys.exit(cli.main(arguments, prog_name="kproxy", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "kproxy"
        _complain(f"{error.format_message().rstrip('.')} - see {path} --help")
        sys.exit(EXIT_USAGE)
    except click.Abort:
        sys.exit(130)
    except ConfigErrors as errors:
        for one in errors.errors:
            _complain(str(one))
        sys.exit(EXIT_USAGE)
    except ConfigError as error:
        _complain(str(error))
        sys.exit(EXIT_USAGE)
    except KproxyError as error:
        _complain(str(error))
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _complain(text: str) -> None:
    print(f"kproxy: {' '.join(text.split())}", file=sys.stderr)
