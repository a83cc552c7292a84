"""First full load into an empty kernel by each variant, beside the tool's own time for the same text.

Also beside its time for the shape of rules that kube-proxy writes, in the same run.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from bench.figures import Figure
from bench.kube_proxy_shape import restore_text
from bench.workload import NODE, POD_CIDR, as_json
from kproxy.config import build_config
from kproxy.dataplane.iptables.binaries import find_binaries
from kproxy.dataplane.iptables.proxier import IptablesProxier
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.plan.family import FamilyPlan
from kproxy.sources.directory import ManifestDirectory
from kproxy.state.addresses import Family
from kproxy.state.cluster import ClusterState
from tests.lab import Namespace, Run

if TYPE_CHECKING:
    from pathlib import Path

SLOW_SHAPE_RUNS = 1
"""kube-proxy's shape takes half a minute in the nft variant."""


def figures(services: int, runs: int, variant: str, directory: Path) -> list[Figure]:
    """Measure one variant `runs` times, each in a network namespace of its own."""
    directory.joinpath("all.json").write_text(as_json(services), encoding="utf-8")
    state = ClusterState(NODE)
    state.apply(ManifestDirectory(directory).read_once().changes)
    plan = FamilyPlan(Family.IPV4)
    plan.update(state, state.take_dirty()[0])
    ours: list[float] = []
    tool: list[float] = []
    peer: list[float] = []
    for run in range(runs):
        with Run() as lab:
            seconds, text = _sync(Namespace(lab, "ours"), variant, state, plan)
            ours.append(seconds)
            tool.append(_restore(Namespace(lab, "tool"), variant, text))
            if variant == "legacy" or run < SLOW_SHAPE_RUNS:
                peer.append(_restore(Namespace(lab, "peer"), variant, restore_text(services)))
    return [
        Figure(f"{variant}: kproxy's first sync (ratio to the tool alone)", ours, peer=tool),
        Figure(f"{variant}: the tool alone, same text", tool),
        Figure(f"{variant}: the tool alone, kube-proxy's shape (ratio to ours)", peer, peer=tool),
    ]


def _sync(namespace: Namespace, variant: str, state: ClusterState, plan: FamilyPlan) -> tuple[float, str]:
    config = build_config({"hostname_override": NODE, "cluster_cidr": (POD_CIDR,)})
    binaries = find_binaries(Family.IPV4, variant)
    assert binaries is not None
    proxier = IptablesProxier(config, IptablesTool(binaries))
    proxier.configure(state.node, ())
    for key, intents in plan.intents.items():
        proxier.set_service(key, intents, 0)
    text = proxier.ruleset.difference()[0].text

    def timed() -> float:
        start = time.perf_counter()
        proxier.sync()
        return time.perf_counter() - start

    return namespace.call(timed), text


def _restore(namespace: Namespace, variant: str, text: str) -> float:
    binaries = find_binaries(Family.IPV4, variant)
    assert binaries is not None
    argv = namespace.command([binaries.restore, "-w", "5", "--noflush"])
    start = time.perf_counter()
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)
    return time.perf_counter() - start
