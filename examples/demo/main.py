"""The command: who may run it, what it says at the end, and its exit code."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from examples.demo import host, scenes
from examples.demo.signals import Interrupted
from examples.demo.stage import AgentFailed, Settings, Stage
from examples.demo.tables import STORIES
from examples.demo.view import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.demo.host import Snapshot
    from examples.demo.signals import Interrupt

EXIT_FAILED = 1
EXIT_BY_SIGNAL = 128
SHOWN = 10


@click.command()
@click.argument("stories", nargs=-1, type=click.Choice(list(STORIES)))
@click.option("--iptables-variant", type=click.Choice(["auto", "nft", "legacy"]), default="auto", show_default=True)
@click.pass_obj
def command(interrupt: Interrupt, stories: Sequence[str], iptables_variant: str) -> None:
    """Build a small cluster of network namespaces, run kproxy in it on examples/, show who answers, remove it all.

    STORIES are directories of examples/; without any, all are played. Needs root. This machine's own rules, addresses
    and routes are not touched.
    """
    sys.exit(run(Settings(tuple(stories) or tuple(STORIES), iptables_variant), interrupt))


def run(settings: Settings, interrupt: Interrupt, view: View | None = None) -> int:
    """Play everything; returns the exit code, 0 only if all was as expected."""
    if os.geteuid() != 0:
        print("demo: it makes network namespaces, which needs root - run `sudo make demo`", file=sys.stderr)
        return EXIT_FAILED
    view = view or View(interrupt)
    before = host.snapshot()
    began = time.monotonic()
    stage = Stage(settings, interrupt)
    failure = ""
    try:
        _play(stage, view)
    except Interrupted as signal:
        failure = f"interrupted by {signal}"
    except AgentFailed as error:
        failure = f"kproxy: {error}"
        view.say(f"\nkproxy: {error}; the end of its log:", "bold red")
        view.lines(error.log.splitlines()[-SHOWN:])
    except (OSError, RuntimeError) as error:
        # A Ctrl-C in a terminal also ends the tools that are running, and then those are what fails.
        failure = "interrupted" if interrupt.number else f"the cluster could not be made or used: {error}"
    seconds = time.monotonic() - began
    return _close(stage, view, before, failure, seconds)


def _play(stage: Stage, view: View) -> None:
    view.say("Setting up ...", "dim")
    with stage:
        scenes.play(stage, view)
        stage.agent.stop()
        view.heading("Nothing stays")


def _close(stage: Stage, view: View, before: Snapshot, failure: str, seconds: float) -> int:
    """Tell what is left of the demo, and how it went; returns the exit code."""
    left = stage.left_behind()
    changed = host.differences(before, host.snapshot())
    view.say(
        f"Removed: {stage.namespaces} network namespaces, with all servers, kproxy and its rules."
        if not left
        else f"Not removed: {', '.join(left)}"
    )
    view.say(
        "This machine's own rules, addresses and routes, compared with those from before: "
        + ("changed meanwhile:" if changed else "unchanged.")
    )
    view.lines(changed, "red")
    problems = [*stage.problems, *left, *changed]
    view.lines([f"not as expected: {problem}" for problem in stage.problems], "red")
    if failure:
        view.say(f"{failure} after {stage.connections:,} connections", "bold red")
        return EXIT_BY_SIGNAL + stage.interrupt.number if stage.interrupt.number else EXIT_FAILED
    outcome = f"NOT as expected: {len(problems)}" if problems else "all as expected"
    view.say(
        f"{stage.connections:,} connections in {seconds:.0f} s, {outcome}.", "bold red" if problems else "bold green"
    )
    return EXIT_FAILED if problems else 0
