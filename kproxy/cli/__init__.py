"""The command line: one file per verb. Verbs that only read (`render`, `version`) need no privileges."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path

import click

from kproxy.errors import ConfigError, ConfigErrors, KproxyError

KUBE_PROXY = "kube-proxy"
EXIT_FAILED = 1
EXIT_USAGE = 2


VERBS = {
    "run": "run.run",
    "explain": "explain.explain_verb",
    "dns": "dns.dns",
    "render": "render.render",
    "config": "config.config",
    "cleanup": "cleanup.cleanup",
    "version": "version.version",
}
"""Each verb's command, as `module.name` in this package."""


class _Verbs(click.Group):
    """Imports what the verb needs and no more: the imports are most of what a restart of the agent takes."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """Import a verb; None for an unknown one."""
        if name not in VERBS:
            return None
        module, attribute = VERBS[name].split(".")
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        return command


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    # kube-proxy takes --cluster_cidr for --cluster-cidr.
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@click.pass_context
def cli(context: click.Context, /) -> None:
    """Make the kernel carry Kubernetes Service traffic: a replacement for kube-proxy."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake is one line on standard error, and exit code 1 or 2.

    Called as `kube-proxy` (a symlink) it takes kube-proxy's own command line.
    """
    if arguments is None and Path(sys.argv[0]).name == KUBE_PROXY:
        arguments = ["run", *sys.argv[1:]]
    try:
        sys.exit(cli.main(arguments, prog_name="kproxy", standalone_mode=False) or 0)
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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _complain(f"standard output: {os.strerror(errno.ENOSPC)}")
        # What is still in Python's buffer is to go nowhere, or Python itself complains once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)


def _complain(text: str) -> None:
    print(f"kproxy: {' '.join(text.split())}", file=sys.stderr)
