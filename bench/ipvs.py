"""IPVS mode: first full load, changes, a restart; beside `ipvsadm -R` of the same virtual servers in the same kernel.

`python -m bench ipvs` runs it here if the kernel has IPVS, else in the kernel of tests/uml, with one CPU.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from bench.figures import Figure, show
from bench.workload import NODE, POD_CIDR, endpoint_slice, service
from kproxy.config import build_config
from kproxy.dataplane.ipvs.start import start_ipvs
from kproxy.kube import wire
from kproxy.plan.family import FamilyPlan
from kproxy.sources.changes import Change
from kproxy.state.addresses import Family
from kproxy.state.cluster import ClusterState
from tests.lab import Namespace, Run
from tests.uml.machine import inside
from tests.uml.machine import run as run_inside
from tests.uml.needs import ipvs_missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.dataplane.ipvs.proxier import IpvsProxier

CHANGES = 300
NODE_IP = "192.0.2.1"


def figures(services: int, runs: int) -> list[Figure]:
    """Measure `runs` times, each in network namespaces of its own."""
    state, plan = _planned(services)
    load: list[float] = []
    tool: list[float] = []
    changes: list[float] = []
    again: list[float] = []
    for _ in range(runs):
        with Run() as lab:
            ours, theirs = Namespace(lab, "ours"), Namespace(lab, "tool")
            for namespace in (ours, theirs):
                namespace.run("ip", "link", "set", "lo", "up")
            proxier = _start(ours, state)
            load.append(_timed(ours, lambda p=proxier: _enter(p, plan)))  # type: ignore[misc]
            saved = ours.run("ipvsadm", "-Sn", timeout_s=600)
            start = time.perf_counter()
            theirs.run("ipvsadm", "-R", stdin=saved, timeout_s=1800)
            tool.append(time.perf_counter() - start)
            _stop(proxier)
            proxier = _start(ours, state)
            again.append(_timed(ours, lambda p=proxier: _enter(p, plan, wrote_nothing=True)))  # type: ignore[misc]
            changes += [_change(ours, proxier, state, plan, number) for number in range(CHANGES)]
            _stop(proxier)
    in_ms = sorted(value * 1000 for value in changes)
    return [
        Figure("first full load: virtual servers, VIPs, packet filter (ratio to ipvsadm -R)", load, peer=tool),
        Figure("ipvsadm -R: the same virtual servers alone", tool),
        Figure("restart on the same state: nothing is written", again),
        Figure("one changed EndpointSlice: plan and kernel", in_ms, "ms"),
        Figure("the same, 99th percentile", [in_ms[len(in_ms) * 99 // 100]], "ms"),
    ]


def main(services: int, runs: int) -> int:
    """Measure and print, in User-Mode Linux if this kernel has no IPVS."""
    if ipvs_missing() and not inside():
        argv = [sys.executable, "-m", "bench", "ipvs", "--services", str(services), "--runs", str(runs)]
        return run_inside(argv, memory="3G")
    where = "User-Mode Linux, one CPU" if inside() else "this machine"
    gc.disable()
    show(f"{services} Services x 4 endpoints, {runs} runs, {where}: IPVS", figures(services, runs))
    return 0


def _planned(services: int) -> tuple[ClusterState, FamilyPlan]:
    state = ClusterState(NODE)
    state.apply([change for index in range(services) for change in _objects(index)])
    plan = FamilyPlan(Family.IPV4)
    plan.update(state, state.take_dirty()[0])
    return state, plan


def _objects(index: int, generation: int = 0) -> list[Change]:
    slice_ = msgspec.convert(endpoint_slice(index, generation), wire.EndpointSlice)
    changes = [Change("EndpointSlice", f"bench/{slice_.metadata.name}", slice_)]
    if not generation:
        made = msgspec.convert(service(index), wire.Service)
        changes.append(Change("Service", f"bench/{made.metadata.name}", made))
    return changes


def _start(namespace: Namespace, state: ClusterState) -> IpvsProxier:
    quiet = {
        "conntrack_max_per_core": 0,
        "conntrack_tcp_timeout_established": 0.0,
        "conntrack_tcp_timeout_close_wait": 0.0,
    }
    config = build_config({"hostname_override": NODE, "cluster_cidr": (POD_CIDR,), "proxy_mode": "ipvs", **quiet})
    proxier = namespace.call(lambda: start_ipvs(config))[0]
    proxier.configure(state.node, (NODE_IP,))
    return proxier


def _stop(proxier: IpvsProxier) -> None:
    proxier.filter.close()
    if proxier.filter.watch is not None:
        proxier.filter.watch.close()


def _enter(proxier: IpvsProxier, plan: FamilyPlan, *, wrote_nothing: bool = False) -> None:
    for key, intents in plan.intents.items():
        proxier.set_service(key, intents, 0)
    synced = proxier.sync()
    if wrote_nothing and synced.changed_anything:
        raise RuntimeError(f"a restart on the same state wrote {synced.written}, deleted {synced.deleted}")


def _change(namespace: Namespace, proxier: IpvsProxier, state: ClusterState, plan: FamilyPlan, number: int) -> float:
    """One Service gets other endpoints: from the object to the kernel."""
    changed = _objects(number % 100, 1 + number // 100 % 2)

    def timed() -> None:
        state.apply(changed)
        for key in state.take_dirty()[0]:
            plan.update(state, [key])
            proxier.set_service(key, plan.intents.get(key, ()), 0)
        proxier.sync()

    return _timed(namespace, timed)


def _timed(namespace: Namespace, work: Callable[[], None]) -> float:
    """The seconds that `work` takes inside; the thread that it needs for that is not counted."""

    def inside_it() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return namespace.call(inside_it)
