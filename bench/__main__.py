"""python -m bench: print the figures of the iptables mode. Needs root, for network namespaces of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from bench import agent, loading, planning
from bench.figures import show


@click.command()
@click.option("--services", "sizes", type=int, multiple=True, default=(1000, 10000), show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
@click.option("--variant", "variants", multiple=True, default=("legacy", "nft"), show_default=True)
@click.option("--only", type=click.Choice(["plan", "load", "agent"]), multiple=True)
def main(sizes: tuple[int, ...], runs: int, variants: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Measure planning, loading and the whole agent, for clusters of so many Services with 4 endpoints each."""
    if os.geteuid() != 0:
        sys.exit("bench: it makes network namespaces, which needs root")
    wanted = only or ("plan", "load", "agent")
    for services in sizes:
        title = f"{services} Services x 4 endpoints, {runs} runs"
        if "plan" in wanted:
            show(f"{title}: plan and render", planning.figures(services, runs))
        for variant in variants:
            with tempfile.TemporaryDirectory() as directory:
                if "load" in wanted:
                    show(f"{title}: first full load", loading.figures(services, runs, variant, Path(directory)))
            for form in ("json", "yaml"):
                with tempfile.TemporaryDirectory() as directory:
                    if "agent" in wanted:
                        found = agent.figures(services, runs, variant, form, Path(directory))
                        show(f"{title}: the agent", found)


if __name__ == "__main__":
    main()
