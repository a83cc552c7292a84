"""What all outages have in common: traffic that must not notice, changes that are missed, and the time to catch up."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubernetes import client

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.controlplane.objects import create_namespace, create_running_pod, create_service, set_pod_status
from tests.controlplane.traffic import Traffic, Way
from tests.lab import FAMILIES, POD_CIDRS, Agent, Outcome, Probe
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.controlplane import ControlPlane
    from tests.lab import Cluster, Report

#: The bound is one second. A busy machine may take some more; a client that waits its back-off out takes far more.
CAUGHT_UP_WITHIN_S = 5.0
#: An outage is at least this long, so that there are several attempts in it.
OUTAGE_S = 2.0
CONTROLLERS_S = 20.0
PODS = ("a1", "b1")
#: In the Service that is made during an outage: its first byte is where a stream can be cut in mid-character.
NOTE = "café"


@dataclass(slots=True)
class Recoveries:
    """How long it took from the end of each outage until all that was missed had reached the kernel."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, outage: str, seconds: float) -> None:
        self.seconds.setdefault(outage, []).append(seconds)

    def lines(self) -> list[str]:
        """A line for each outage, and one with min / median / max of all."""
        every = [one for figures in self.seconds.values() for one in figures]
        told = [f"{_spread(figures)}  {outage}" for outage, figures in self.seconds.items()]
        return [*told, f"{_spread(every)}  all {len(every)}"] if every else []


def _spread(figures: list[float]) -> str:
    return f"{min(figures):6.2f} / {statistics.median(figures):.2f} / {max(figures):.2f} s"


class Tenants:
    """A namespace on the API server with the Pods and Services that outages are about.

    `steady` is a Service that nobody changes. `web` gains or loses its endpoint b1 in each outage; one more Service is
    deleted and another one made. The slices of all of them are the real controller's.
    """

    def __init__(self, control: ControlPlane, cluster: Cluster, namespace: str) -> None:
        self._control, self._cluster, self.namespace = control, cluster, namespace
        self._numbers = itertools.count(1)
        self._both = True
        self._gone: client.V1Service | None = None
        with control.api() as api:
            for name in ("node-a", "node-b"):
                node = cluster.node_object()
                node["metadata"]["name"] = name
                api.post("/api/v1/nodes", node)
        control.start_controllers()
        self.api = control.typed()
        create_namespace(self.api, namespace)
        for app, pod in itertools.product(("steady", "web"), PODS):
            create_running_pod(
                self.api,
                f"{app}-{pod}",
                namespace,
                {"app": app},
                node=cluster.hosts[pod].node,
                addresses=self._addresses(pod),
            )
        self.steady = create_service(self.api, "steady", namespace, {"app": "steady"})
        self.web = create_service(self.api, "web", namespace, {"app": "web"})
        self._born = self._create()

    def close(self) -> None:
        """Take the Services away: another test of the same API server must not find their rules."""
        core = client.CoreV1Api(self.api)
        for service in core.list_namespaced_service(self.namespace).items:
            core.delete_namespaced_service(_name_of(service), self.namespace)
        self.api.rest_client.pool_manager.clear()

    @property
    def served(self) -> bool:
        """Whether packets go where the API server says: the latest state of everything, and nothing of before."""
        wanted = {*PODS} if self._both else {"a1"}
        expected = [(self.steady, {*PODS}), (self.web, wanted), (self._born, wanted)]
        if self._gone is not None:
            expected.append((self._gone, set()))
        # One after the other: a packet that finds the wrong answer ends the round early.
        return all(self._answering(one) == [who] * len(_addresses_of(one)) for one, who in expected)

    @property
    def forgotten(self) -> bool:
        """Whether nobody answers for the Service that was deleted last."""
        assert self._gone
        return not any(self._answering(self._gone))

    def ways(self) -> list[Way]:
        """To what stays."""
        return [Way(source, ip, 80) for source in ("pa", "node-a") for ip in _addresses_of(self.steady)]

    def change(self, *, controllers: bool = True) -> None:
        """Delete a Service and make one; with `controllers`, an endpoint changes too, and slices are waited for."""
        before = self._born
        core = client.CoreV1Api(self.api)
        core.delete_namespaced_service(_name_of(before), self.namespace)
        if controllers:
            self._both = not self._both
            addresses = self._addresses("b1")
            set_pod_status(self.api, "web-b1", self.namespace, addresses=addresses, ready=self._both)
            eventually(lambda: self._slices_say("web", self._both), "the controller changed the slices", CONTROLLERS_S)
        self._gone, self._born = before, self._create()
        if controllers:
            self.wait_for_slices()

    def wait_for_slices(self) -> None:
        """Wait until the controller has made those of the newest Service."""
        name = _name_of(self._born)
        eventually(lambda: self._slices_say(name, self._both), "the controller made the slices", CONTROLLERS_S)

    def _create(self) -> client.V1Service:
        name = f"born-{next(self._numbers)}"
        return create_service(self.api, name, self.namespace, {"app": "web"}, annotations={"note": NOTE})

    def _addresses(self, pod: str) -> list[str]:
        return [self._cluster.address(pod, family) for family in FAMILIES]

    def _slices_say(self, service: str, ready: bool) -> bool:
        """Whether there are slices of both families, with b1 as ready as it should be."""
        slices = client.DiscoveryV1Api(self.api).list_namespaced_endpoint_slice(
            self.namespace, label_selector=f"kubernetes.io/service-name={service}"
        )
        every = [one for each in slices.items for one in each.endpoints or []]
        said = {one.addresses[0]: one.conditions and one.conditions.ready for one in every}
        wanted = dict.fromkeys(self._addresses("a1"), True) | dict.fromkeys(self._addresses("b1"), ready)
        return said == wanted

    def _answering(self, service: client.V1Service) -> list[set[str]]:
        """Who answers at each of the Service's addresses."""
        probes = [Probe("a2", ip, 80, count=16, timeout_s=1.0) for ip in _addresses_of(service)]
        return [_answering(report) for report in self._cluster.probe_all(probes)]


def _answering(report: Report) -> set[str]:
    """A refusal is nobody, and so is the world outside, which answers for every address that no rule takes."""
    return {one.who for one in report.answers if one.outcome is Outcome.ANSWERED} - {"world"}


def _addresses_of(service: client.V1Service) -> list[str]:
    assert service.spec
    return service.spec.cluster_ips or []


def _name_of(service: client.V1Service) -> str:
    assert service.metadata
    assert service.metadata.name
    return service.metadata.name


def new_agent(cluster: Cluster, kubeconfig: Path, module: str = "kproxy") -> Agent:
    """kproxy on node A (or a module that stands for it), not started yet."""
    argv = [
        sys.executable,
        "-m",
        module,
        "run",
        "--proxy-mode",
        "iptables",
        "--kubeconfig",
        str(kubeconfig),
        "--hostname-override",
        "node-a",
    ]
    return Agent(cluster.node, [*argv, *LEAVE_CONNTRACK, "--cluster-cidr", ",".join(POD_CIDRS.values())], FAMILIES)


@contextlib.contextmanager
def outage(tenants: Tenants, cluster: Cluster, agent: Agent) -> Iterator[Callable[..., float]]:
    """Traffic runs within the block. What is yielded waits until the agent has caught up (until `tenants.served`, or
    another condition), and returns the seconds.

    Afterwards: nobody on the steady ways noticed anything, and the agent is the same process without a traceback.
    """
    eventually(lambda: tenants.served, "all is as it should be before the outage", CONTROLLERS_S)
    process = agent.pid

    def catch_up(condition: Callable[[], bool] = lambda: tenants.served) -> float:
        start = time.monotonic()
        eventually(condition, "all that was missed is in the kernel", CAUGHT_UP_WITHIN_S)
        return time.monotonic() - start

    try:
        with Traffic(cluster, tenants.ways(), set(PODS)) as traffic:
            yield catch_up
        traffic.check()
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{error}\nthe agent's last lines:\n{agent.log_tail(60)}") from None
    assert agent.running
    assert agent.pid == process
    assert "Traceback" not in agent.log.read_text(encoding="utf-8")
