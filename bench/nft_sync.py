"""nftables mode, one family: objects in memory to commit, restart, single changes; each run in a process of its own.

`python -m bench.nft_sync SERVICES ENDPOINTS` is that process: it prints one JSON object. It makes network namespaces
for itself, so it needs root.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bench import workload
from bench.figures import Figure
from bench.planning import rss_mib
from kproxy.config import build_config
from kproxy.dataplane.nftables.proxier import NftablesProxier
from kproxy.dataplane.nftables.watch import TableWatch
from kproxy.kube import wire
from kproxy.netlink.nftables.batch import Batch
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.plan.family import FamilyPlan
from kproxy.plan.nftables.layout import TABLE
from kproxy.sources.changes import Change
from kproxy.state.addresses import Family
from kproxy.state.cluster import ClusterState
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kproxy.netlink.exchange import Request

CHANGES = 300
CONFIG = build_config({"hostname_override": workload.NODE, "cluster_cidr": (workload.POD_CIDR,)})


def figures(services: int, endpoints: int, runs: int) -> list[Figure]:
    """Measure `runs` times."""
    argv = [sys.executable, "-m", "bench.nft_sync", str(services), str(endpoints)]
    seen = [json.loads(subprocess.run(argv, check=True, capture_output=True).stdout) for _ in range(runs)]

    def of(name: str, scale: float = 1.0) -> list[float]:
        return [run[name] * scale for run in seen]

    return [
        Figure("objects in memory to commit (ratio to the bare batch)", of("first"), peer=of("bare")),
        Figure("… of that: state and plan", of("plan")),
        Figure("… CPU time, kernel included (ratio: the same)", of("first_cpu"), peer=of("bare_cpu")),
        Figure("the bare batch: the same bytes, sent once", of("bare")),
        Figure("restart on the identical ruleset: read, compare, write nothing", of("restart")),
        Figure("… CPU time", of("restart_cpu")),
        Figure("one endpoint added or removed, event to commit: median", of("change_median", 1000), "ms"),
        Figure("… p99 of 300", of("change_p99", 1000), "ms"),
        Figure("… CPU time: median", of("change_cpu_median", 1000), "ms"),
        Figure("… p99 of 300", of("change_cpu_p99", 1000), "ms"),
        Figure("memory after the first sync", of("rss"), "MiB"),
    ]


class Watch:
    """Seconds since it was made: on the clock, and of CPU time of this process and of the kernel for it."""

    def __init__(self) -> None:
        self._start, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        return time.perf_counter() - self._start, time.process_time() - self._cpu


class Node:
    """State, plan and proxier of one family, as the agent wires them."""

    def __init__(self, watch: TableWatch | None) -> None:
        self.state = ClusterState(workload.NODE)
        self.plan = FamilyPlan(Family.IPV4)
        self.proxier = NftablesProxier(CONFIG, Family.IPV4, watch=watch)
        self.proxier.configure(self.state.node, ())

    def take(self, changes: Iterable[Change]) -> None:
        """Take changes up to where the kernel comes in."""
        self.state.apply(changes)
        dirty, _ = self.state.take_dirty()
        self.plan.update(self.state, dirty)
        for key in dirty:
            self.proxier.set_service(key, self.plan.intents.get(key, ()), 0)


def main(services: int, endpoints: int) -> None:
    """Measure once."""
    workload.ENDPOINTS = endpoints
    changes = [change for index in range(services) for change in _objects(index)]
    gc.collect()
    gc.freeze()
    # As the agent does until the first sync is done.
    gc.disable()
    with PrivateNetns() as netns, PrivateNetns() as bare:
        found = netns.run(lambda: _first(changes, bare))
        changes.clear()
        node: Node = found.pop("node")
        gc.freeze()
        gc.enable()
        found |= netns.run(lambda: _changes(node, services))
        found |= netns.run(lambda: _restart(node))
    print(json.dumps(found))


def _first(changes: Sequence[Change], bare: PrivateNetns) -> dict[str, Any]:
    node = Node(TableWatch(TABLE))
    watch = Watch()
    node.take(changes)
    planned, _ = watch.seconds()
    node.proxier.sync()
    first, first_cpu = watch.seconds()
    rss = rss_mib()
    again = Node(None)
    again.take(changes)
    again.proxier.ruleset.read_back(None, {})
    requests = Batch(again.proxier.ruleset.difference().transaction).requests
    bare_seconds, bare_cpu = bare.run(lambda: _send(requests))
    return {
        "node": node,
        "first": first,
        "first_cpu": first_cpu,
        "plan": planned,
        "rss": rss,
        "bare": bare_seconds,
        "bare_cpu": bare_cpu,
    }


def _send(requests: Sequence[Request]) -> tuple[float, float]:
    """Send what is encoded already, and wait for the kernel's answers."""
    with NetlinkSocket() as netlink:
        watch = Watch()
        raise_refusals(netlink.batch(requests, in_one_send=True))
        return watch.seconds()


def _changes(node: Node, services: int) -> dict[str, Any]:
    """Take the last endpoint of one Service after the other away, and give it back."""
    seconds, cpu_seconds = [], []
    for number in range(CHANGES):
        index = (number // 2) * 7919 % services
        change = _slice(index, fewer=number % 2 == 0)
        watch = Watch()
        node.take([change])
        node.proxier.sync()
        wall, cpu = watch.seconds()
        seconds.append(wall)
        cpu_seconds.append(cpu)
    return {
        "change_median": statistics.median(seconds),
        "change_p99": sorted(seconds)[int(0.99 * len(seconds))],
        "change_cpu_median": statistics.median(cpu_seconds),
        "change_cpu_p99": sorted(cpu_seconds)[int(0.99 * len(seconds))],
    }


def _restart(old: Node) -> dict[str, Any]:
    """The same objects in a proxier that knows nothing of the kernel."""
    fresh = NftablesProxier(CONFIG, Family.IPV4, watch=TableWatch(TABLE))
    fresh.configure(old.state.node, ())
    for key, intents in old.plan.intents.items():
        fresh.set_service(key, intents, 0)
    watch = Watch()
    synced = fresh.sync()
    seconds, cpu = watch.seconds()
    assert not synced.changed_anything, synced
    return {"restart": seconds, "restart_cpu": cpu}


def _objects(index: int) -> tuple[Change, Change]:
    obj = msgspec.convert(workload.service(index), wire.Service)
    return Change("Service", wire.namespaced_name(obj), obj), _slice(index)


def _slice(index: int, *, fewer: bool = False) -> Change:
    made = workload.endpoint_slice(index)
    if fewer:
        made["endpoints"].pop()
    obj = msgspec.convert(made, wire.EndpointSlice)
    return Change("EndpointSlice", wire.namespaced_name(obj), obj)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
