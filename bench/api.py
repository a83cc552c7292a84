"""kproxy and the real kube-proxy on one real API server: start, memory, and how fast they follow."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure
from bench.following import PER_SECOND, follow
from bench.workload import NODE, POD_CIDR
from tests.controlplane.control_plane import KUBE_PROXY_TOKEN
from tests.lab.agent import Agent, eventually
from tests.oracle.kube_proxy import SYSTEM_PATH, tools
from tests.peers import peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.api_lab import ApiLab, Node

SYNCED_WITHIN_S = 900.0
FLAGS = (
    *("--hostname-override", NODE, "--cluster-cidr", POD_CIDR, "--conntrack-max-per-core", "0"),
    *("--conntrack-tcp-timeout-established", "0s", "--conntrack-tcp-timeout-close-wait", "0s"),
)
_FIRST_SYNC = re.compile(r"^(\S+)Z .*IPv4: full sync in (\d+) ms", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mode:
    """A row: flags of both programs. `variant` is the iptables that kube-proxy finds. `slow`: it needs minutes."""

    flags: tuple[str, ...]
    variant: str = "nft"
    slow: bool = False


MODES = {
    "nftables": Mode(("--proxy-mode", "nftables")),
    "iptables-legacy": Mode(("--proxy-mode", "iptables"), "legacy"),
    "iptables-nft": Mode(("--proxy-mode", "iptables"), "nft", slow=True),
}


@dataclass(slots=True)
class _Seen:
    """What the runs of one program gave."""

    planned: list[float] = field(default_factory=list)
    synced: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def measure(self, lab: ApiLab, node: Node, agent: Agent, *, following: bool) -> None:
        """Memory now, and after the changes its peak."""
        status = Path(f"/proc/{agent.pid}/status").read_text(encoding="ascii")
        self.rss.append(_mib(status, "VmRSS"))
        self.peak.append(_mib(status, "VmHWM"))
        if following:
            self.late += follow(lab, node)


def figures(lab: ApiLab, name: str, runs: int, *, following: bool = True, with_peer: bool = True) -> list[Figure]:
    """Measure one of `MODES`, the two programs in turn, each time on a new node."""
    mode = MODES[name]
    ours, theirs = _Seen(), _Seen()
    for run in range(runs):
        _run_kproxy(lab, mode, ours, following=following)
        if with_peer and (run == 0 or not mode.slow):
            _run_kube_proxy(lab, mode, theirs, following=following)
    return [
        Figure(f"{name}: process start to all objects held and planned", ours.planned),
        *_both(f"{name}: process start to first sync", ours.synced, theirs.synced, "s"),
        *_both(f"{name}: memory after it", ours.rss, theirs.rss, "MiB"),
        *_both(f"{name}: its peak", ours.peak, theirs.peak, "MiB"),
        *_lateness(name, "kproxy", ours.late),
        *_lateness(name, "kube-proxy", theirs.late),
    ]


def _run_kproxy(lab: ApiLab, mode: Mode, seen: _Seen, *, following: bool) -> None:
    config = lab.plane.kubeconfig("kproxy", token=lab.plane.service_account_token())
    flags = ["--kubeconfig", str(config), *FLAGS, *mode.flags]
    if "iptables" in mode.flags:
        flags += ["--iptables-variant", mode.variant]
    node, start = lab.node(), time.time()
    with Agent(node.namespace, [sys.executable, "-m", "kproxy", "run", *flags], ["ipv4"]) as agent:
        agent.wait_ready(SYNCED_WITHIN_S)
        line = _FIRST_SYNC.search(agent.log.read_text(encoding="utf-8"))
        assert line is not None, agent.log_tail()
        synced = datetime.fromisoformat(f"{line[1]}+00:00").timestamp() - start
        seen.synced.append(synced)
        seen.planned.append(synced - int(line[2]) / 1000)
        seen.measure(lab, node, agent, following=following)


def _run_kube_proxy(lab: ApiLab, mode: Mode, seen: _Seen, *, following: bool) -> None:
    config = lab.plane.kubeconfig("kube-proxy", token=KUBE_PROXY_TOKEN)
    argv = [str(peer("kube-proxy")), "--kubeconfig", str(config), "--detect-local-mode", "ClusterCIDR", *FLAGS]
    path = {"PATH": f"{tools(lab.plane.directory, mode.variant)}:{SYSTEM_PATH}"}
    node, start = lab.node(), time.time()
    with Agent(node.namespace, [*argv, *mode.flags], ["ipv4"], path) as agent:
        agent.wait_ready(SYNCED_WITHIN_S)
        eventually(lambda: agent.last_sync()["ipv4"] > start, "the first sync", SYNCED_WITHIN_S)
        seen.synced.append(agent.last_sync()["ipv4"] - start)
        seen.measure(lab, node, agent, following=following)


def _both(what: str, ours: list[float], theirs: list[float], unit: str) -> Iterator[Figure]:
    yield Figure(what, ours, unit, peer=theirs)
    if theirs:
        yield Figure(f"{what}, kube-proxy", theirs, unit)


def _lateness(name: str, who: str, late: list[float]) -> Iterator[Figure]:
    """The middle one of the three numbers is the median; p99 has a row of its own."""
    if late:
        in_order = sorted(value * 1000 for value in late)
        what = f"{name}: API write to kernel at {PER_SECOND} changes/s, {who}"
        yield Figure(what, in_order, "ms")
        yield Figure(f"{what}, p99", [in_order[len(in_order) * 99 // 100]], "ms")


def _mib(status: str, name: str) -> float:
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
