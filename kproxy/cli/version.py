"""kproxy version."""

from __future__ import annotations

import platform

import click

import kproxy


def version_text() -> str:
    """Return the line that `version` and `run --version` print."""
    return f"kproxy {kproxy.__version__} (Python {platform.python_version()})"


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(version_text())
