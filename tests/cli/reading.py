"""Reads command lines without running anything."""

from __future__ import annotations

from typing import Any

import click
import pytest

from kproxy.cli import cli, main
from kproxy.cli.flags import flatten
from kproxy.cli.run import run

#: Where the parameter of a flag is not named after it.
NAMES = {"v": "verbosity", "version": "show_version"}


def read(*arguments: str) -> dict[str, Any]:
    """The values of `kproxy run ARGUMENTS` by flag name, lists joined."""
    parent = click.Context(cli, **cli.context_settings)
    context = run.make_context("run", list(arguments), parent=parent)
    values = flatten(context.params)
    flags = {option.lstrip("-") for parameter in run.params for option in parameter.opts if option.startswith("--")}
    return {flag: values[NAMES.get(flag, flag.replace("-", "_"))] for flag in flags}


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command line that must fail; return its exit code and the one line on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("kproxy: ")
    assert err.rstrip("\n").isprintable()
    assert isinstance(caught.value.code, int)
    return caught.value.code, err.rstrip("\n")
