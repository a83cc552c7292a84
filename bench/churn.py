"""python -m bench churn: endpoint sets that change all the time while clients connect, through a real API server.

How many new connections are answered by an endpoint that had left, how late, and what becomes of connections that are
held to endpoints which stay; also with the proxy killed and started again all the time. Needs root, and Kubernetes'
own programs (`python -m tests.peers`).
"""

from __future__ import annotations

import bisect
import contextlib
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.figures import show_rows
from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane import ControlPlane, plan_with_control_plane
from tests.controlplane.control_plane import KUBE_PROXY_TOKEN
from tests.lab import FAMILIES, Agent, Cluster, Outcome, small_cluster
from tests.peers import peer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.controlplane.https import Api
    from tests.lab import Held

SERVICES, CHANGES_PER_S, HELD = 20, 20, 40
STAYING, MOVING = ("a4", "b4"), ("a1", "a2", "a3", "b1", "b2", "b3")
MOVING_AT_ONCE = 3
CLIENTS = ("client", "pa")
KILL_EVERY_S = 2.7
LATE_S = 0.1
NAMESPACE = "churn"
CIDRS = "10.244.0.0/16,fd00:10:244::/48"


@dataclass
class History:
    """The endpoint sets of one Service: when the request for each began, when it was answered, and the set."""

    begun: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    sets: list[frozenset[str]] = field(default_factory=list)

    def lateness_s(self, begun: float, ended: float, who: str) -> float | None:
        """How long before the connection the endpoint that answered had left; None: it had not."""
        now = bisect.bisect_right(self.written, begun) - 1
        possible = bisect.bisect_right(self.begun, ended)
        if any(who in endpoints for endpoints in self.sets[now:possible]):
            return None
        left = next(index for index in range(now, -1, -1) if index == 0 or who in self.sets[index - 1])
        return begun - self.written[left]


@dataclass
class Churn:
    """What was seen in one run."""

    connections: int = 0
    late_s: list[float] = field(default_factory=list)
    errors: int = 0
    held_lost: int = 0
    restarts: int = 0

    def row(self, what: str) -> tuple[str, ...]:
        late = sorted(self.late_s)
        share = f"{len(late)} ({100 * len(late) / max(self.connections, 1):.2f} %)"
        over = str(sum(value > LATE_S for value in late))
        spread = "-"
        if late:
            p99 = late[min(len(late) - 1, int(0.99 * len(late)))]
            spread = " / ".join(f"{1000 * value:.0f}" for value in (statistics.median(late), p99, late[-1]))
        return what, str(self.connections), share, over, spread, str(self.errors), str(self.held_lost)


COLUMNS = (
    "proxy",
    "connections",
    "to an endpoint that had left",
    "more than 0.1 s late",
    "median / p99 / max late, ms",
    "errors",
    "held lost",
)


def measure(cluster: Cluster, control: ControlPlane, agent: Agent, seconds: float, *, kill: bool) -> Churn:
    """Run one proxy through the churn; the objects are there."""
    seen = Churn()
    ended = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(agent)
        agent.wait_ready()
        held = [stack.enter_context(_hold(cluster, number % SERVICES)) for number in range(HELD)]
        histories = [History() for _ in range(SERVICES)]
        churning = threading.Thread(target=_churn, args=(control, cluster, histories, ended))
        with _clients(cluster) as outputs:
            churning.start()
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, KILL_EVERY_S))
                if kill and left > KILL_EVERY_S:
                    agent.kill()
                    agent.start()
                    seen.restarts += 1
            ended.set()
            churning.join()
        for output in outputs:
            _judge(output, histories, seen)
        seen.held_lost = sum(one.ask().outcome is not Outcome.ANSWERED for one in held)
    return seen


def _churn(control: ControlPlane, cluster: Cluster, histories: list[History], ended: threading.Event) -> None:
    """Replace one endpoint set after the other, at the same pace whatever a request takes."""
    chance = random.Random(1)
    due = time.monotonic()
    number = 0
    with control.api() as api:
        while not ended.wait(max(0.0, due - time.monotonic())):
            due += 1 / CHANGES_PER_S
            moving = frozenset(chance.sample(MOVING, MOVING_AT_ONCE))
            history = histories[number]
            history.begun.append(time.monotonic())
            history.sets.append(moving | set(STAYING))
            write_slice(api, cluster, number, moving)
            history.written.append(time.monotonic())
            number = (number + 1) % SERVICES


def _judge(output: Path, histories: Sequence[History], seen: Churn) -> None:
    for line in output.read_text(encoding="ascii").splitlines():
        begun, ended, number, who = line.split()
        history = histories[int(number)]
        if not history.written or float(begun) < history.written[0]:
            continue
        seen.connections += 1
        if who.startswith("!"):
            seen.errors += 1
        elif (late := history.lateness_s(float(begun), float(ended), who)) is not None:
            seen.late_s.append(late)


@contextlib.contextmanager
def _clients(cluster: Cluster) -> Iterator[list[Path]]:
    script = Path(__file__).with_name("churn_client.py")
    argv = [sys.executable, "-I", "-S", str(script), *(address(number) for number in range(SERVICES))]
    with contextlib.ExitStack() as stack:
        outputs = []
        for name in CLIENTS:
            namespace = cluster.namespaces[name]
            outputs.append(namespace.run_of.directory / f"churn-{name}.txt")
            output = stack.enter_context(outputs[-1].open("w"))
            process = namespace.popen(argv, stdout=output, stdin=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield outputs


def _hold(cluster: Cluster, number: int) -> Held:
    """A connection to an endpoint that stays."""
    while True:
        held = cluster.hold(CLIENTS[0], address(number), 80)
        if held.opened.who in STAYING:
            return held
        held.close()


def address(number: int) -> str:
    return f"10.96.7.{number + 1}"


def write_slice(api: Api, cluster: Cluster, number: int, moving: frozenset[str], *, create: bool = False) -> None:
    """Give one Service these endpoints and those that stay."""
    made: dict[str, Any] = {
        "metadata": {"name": f"svc-{number}-1", "labels": {"kubernetes.io/service-name": f"svc-{number}"}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {
                "addresses": [cluster.address(pod, "ipv4")],
                "nodeName": cluster.hosts[pod].node,
                "conditions": {"ready": True},
            }
            for pod in sorted(moving | set(STAYING))
        ],
    }
    path = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
    if create:
        api.post(path, made).checked()
    else:
        api.request("PUT", f"{path}/svc-{number}-1", made).checked()


def create_objects(cluster: Cluster, control: ControlPlane) -> None:
    """The node, and the Services with a first set of endpoints each."""
    with control.api() as api:
        for name in ("node-a", "node-b"):
            node = cluster.node_object()
            node["metadata"]["name"] = name
            api.post("/api/v1/nodes", node).checked()
        api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).checked()
        for number in range(SERVICES):
            ports = [{"name": "web", "protocol": "TCP", "port": 80, "targetPort": 8080}]
            spec = {"clusterIP": address(number), "ports": ports}
            service = {"metadata": {"name": f"svc-{number}"}, "spec": spec}
            api.post(f"/api/v1/namespaces/{NAMESPACE}/services", service).checked()
            write_slice(api, cluster, number, frozenset(MOVING[:MOVING_AT_ONCE]), create=True)


def proxy(cluster: Cluster, control: ControlPlane, name: str, mode: str) -> Agent:
    """The program under test, not started yet."""
    if name == "kproxy":
        config = control.kubeconfig("kproxy", token=control.service_account_token())
        program = [sys.executable, "-m", "kproxy", "run"]
    else:
        config = control.kubeconfig("kube-proxy", token=KUBE_PROXY_TOKEN)
        program = [str(peer("kube-proxy")), "--detect-local-mode", "ClusterCIDR"]
    flags = ("--hostname-override", "node-a", "--proxy-mode", mode, "--cluster-cidr", CIDRS, *LEAVE_CONNTRACK)
    return Agent(cluster.node, [*program, "--kubeconfig", str(config), *flags], FAMILIES)


@click.command()
@click.option("--proxy", "proxies", multiple=True, default=("kproxy", "kube-proxy"), show_default=True)
@click.option("--mode", default="nftables", show_default=True)
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Twice that with the proxy killed.")
@click.option("--kill/--no-kill", "kills", default=None, help="Only with, or only without.")
def main(proxies: tuple[str, ...], mode: str, seconds: float, kills: bool | None) -> None:
    """Measure each proxy undisturbed, then killed and started again all the time."""
    if os.geteuid() != 0:
        sys.exit("bench: it makes network namespaces, which needs root")
    rows = []
    pods = small_cluster(pods_a=("a1", "a2", "a3", "a4", "pa"), pods_b=("b1", "b2", "b3", "b4"))
    for name in proxies:
        for kill in (False, True) if kills is None else (kills,):
            # A lab for each, so that nobody finds the other's rules.
            with Cluster(plan_with_control_plane(pods)) as cluster, ControlPlane.of(cluster) as control:
                control.install_rbac()
                create_objects(cluster, control)
                agent = proxy(cluster, control, name, mode)
                seen = measure(cluster, control, agent, seconds * (2 if kill else 1), kill=kill)
                what = f"{name}, {mode}" + (f", killed {seen.restarts} times" if kill else "")
                rows.append(seen.row(what))
    show_rows(f"{SERVICES} Services, {CHANGES_PER_S} endpoint sets replaced a second", COLUMNS, rows)


if __name__ == "__main__":
    main()
