"""Objects in memory to iptables-restore input: state, plan, render; each run in a process of its own.

`python -m bench.planning N` is that process: it prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.figures import Figure
from bench.workload import NODE, POD_CIDR, endpoint_slice, service
from kproxy.config import build_config
from kproxy.dataplane.iptables.ruleset_for import configure, new_ruleset
from kproxy.kube import wire
from kproxy.plan.family import FamilyPlan
from kproxy.sources.changes import Change
from kproxy.state.addresses import Family
from kproxy.state.cluster import ClusterState

STEPS = ("state", "plan", "render", "rss", "change")


def figures(services: int, runs: int) -> list[Figure]:
    """Measure `runs` times."""
    argv = [sys.executable, "-m", "bench.planning", str(services)]
    seen = [json.loads(subprocess.run(argv, check=True, capture_output=True).stdout) for _ in range(runs)]
    return [
        Figure("objects into state", [run["state"] for run in seen]),
        Figure("plan", [run["plan"] for run in seen]),
        Figure("render (first full text)", [run["render"] for run in seen]),
        Figure("one changed EndpointSlice: plan, render", [run["change"] * 1000 for run in seen], "ms"),
        Figure("memory of all of it", [run["rss"] for run in seen], "MiB"),
    ]


def main(services: int) -> None:
    """Measure once."""
    changes = [change for index in range(services) for change in _objects(index)]
    config = build_config({"hostname_override": NODE, "cluster_cidr": (POD_CIDR,)})
    before = rss_mib()
    gc.collect()
    gc.freeze()
    start = time.perf_counter()
    state = ClusterState(NODE)
    state.apply(changes)
    held = time.perf_counter()
    plan = FamilyPlan(Family.IPV4)
    dirty, _ = state.take_dirty()
    plan.update(state, dirty)
    planned = time.perf_counter()
    ruleset = new_ruleset(config, Family.IPV4)
    configure(ruleset, config, state.node, ())
    for key in dirty:
        ruleset.set_service(key, plan.intents.get(key, ()))
    restore, updates, deletions = ruleset.difference()
    text = restore.text
    rendered = time.perf_counter()
    ruleset.applied(updates, deletions)
    del restore, text
    state.apply([_slice_change(services // 2, generation=1)])
    change_start = time.perf_counter()
    dirty, _ = state.take_dirty()
    plan.update(state, dirty)
    for key in dirty:
        ruleset.set_service(key, plan.intents.get(key, ()))
    ruleset.difference()
    changed = time.perf_counter()
    times = (held - start, planned - held, rendered - planned, rss_mib() - before, changed - change_start)
    print(json.dumps(dict(zip(STEPS, times, strict=True))))


def _objects(index: int) -> tuple[Change, Change]:
    obj = msgspec.convert(service(index), wire.Service)
    return Change("Service", wire.namespaced_name(obj), obj), _slice_change(index)


def _slice_change(index: int, generation: int = 0) -> Change:
    obj = msgspec.convert(endpoint_slice(index, generation), wire.EndpointSlice)
    return Change("EndpointSlice", wire.namespaced_name(obj), obj)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(int(sys.argv[1]))
