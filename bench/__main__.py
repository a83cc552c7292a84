"""python -m bench: print the figures of the iptables mode; `python -m bench nftables`, `ipvs`: those of the others.

`python -m bench api`: on a real API server, beside kube-proxy; `churn`: new connections while endpoints change;
`dns`: of DNS.

Needs root, for network namespaces of its own.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from bench import agent, api, churn, ipvs, loading, nft_sync, planning
from bench.api_lab import ApiLab
from bench.dns import run as dns
from bench.dns.servers import coredns_program
from bench.figures import show


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--services", "sizes", type=int, multiple=True, default=(1000, 10000), show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
@click.option("--variant", "variants", multiple=True, default=("legacy", "nft"), show_default=True)
@click.option("--only", type=click.Choice(["plan", "load", "agent"]), multiple=True)
def main(
    context: click.Context, sizes: tuple[int, ...], runs: int, variants: tuple[str, ...], only: tuple[str, ...]
) -> None:
    """Measure planning, loading and the whole agent, for clusters of so many Services with 4 endpoints each."""
    if os.geteuid() != 0:
        sys.exit("bench: it makes network namespaces, which needs root")
    if context.invoked_subcommand is not None:
        return
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


@main.command("nftables")
@click.option("--services", "sizes", type=int, multiple=True, default=(1000, 10000, 44000), show_default=True)
@click.option("--endpoints", type=int, default=10, show_default=True, help="per Service")
@click.option("--runs", type=int, default=3, show_default=True)
def by_nftables(sizes: tuple[int, ...], endpoints: int, runs: int) -> None:
    """Measure nftables mode, one family: first load beside the bare batch, restart, single changes."""
    for services in sizes:
        title = f"{services} Services x {endpoints} endpoints, nftables, {runs} runs"
        show(title, nft_sync.figures(services, endpoints, runs))


main.add_command(churn.main, "churn")


@main.command("ipvs")
@click.option("--services", type=int, default=10000, show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
def by_ipvs(services: int, runs: int) -> None:
    """Measure IPVS mode beside ipvsadm, in User-Mode Linux where this kernel has no IPVS."""
    sys.exit(ipvs.main(services, runs))


@main.command("api")
@click.option("--services", type=int, default=10000, show_default=True)
@click.option("--endpoints", "sizes", type=int, multiple=True, default=(4, 10), show_default=True, help="per Service")
@click.option("--runs", type=int, default=3, show_default=True)
@click.option("--mode", "modes", type=click.Choice(tuple(api.MODES)), multiple=True, default=tuple(api.MODES))
@click.option("--no-changes", is_flag=True, help="only start and memory")
@click.option("--no-peer", is_flag=True, help="kproxy alone")
def on_an_api_server(
    services: int, sizes: tuple[int, ...], runs: int, modes: tuple[str, ...], no_changes: bool, no_peer: bool
) -> None:
    """Measure start, memory and how changes are followed, beside the real kube-proxy, on a real API server."""
    for endpoints in sizes:
        with ApiLab(services, endpoints) as lab:
            for mode in modes:
                found = api.figures(lab, mode, runs, following=not no_changes, with_peer=not no_peer)
                show(f"{services} Services x {endpoints} endpoints from a real API server, {runs} runs", found)


@main.command("dns")
@click.option("--services", type=int, default=10000, show_default=True)
@click.option("--runs", type=int, default=5, show_default=True)
@click.option("--seconds", type=int, default=5, show_default=True, help="of each run")
def beside_coredns(services: int, runs: int, seconds: int) -> None:
    """Measure DNS beside the real CoreDNS, on a real API server, by dnsperf."""
    if shutil.which("dnsperf") is None or coredns_program() is None:
        sys.exit("bench: this takes dnsperf and the real CoreDNS (`make bench-packages`, `python -m tests.peers`)")
    dns.figures(services, runs, seconds)


if __name__ == "__main__":
    main()
