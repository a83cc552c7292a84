"""The way to the API server fails in every way it can, and kproxy runs on: nothing blinks, and nothing stale is left.

During each outage one Service is deleted, another one made, and an endpoint goes or comes. All the time connections
are held and new ones made. How long it took to catch up once the fault was over is printed at the end of the run:

KPROXY_OUTAGE_ROUNDS=5 pytest tests/controlplane/test_outages.py
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.controlplane.impatient import SILENCE_S
from tests.controlplane.outage import NOTE, OUTAGE_S, PODS, Recoveries, Tenants, new_agent, outage
from tests.controlplane.traffic import Traffic
from tests.lab.agent import eventually
from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.controlplane import ControlPlane, FaultProxy
    from tests.lab import Agent, Cluster

pytestmark = pytest.mark.root

FAULTS_PORT = 7450
#: More rounds give figures; one is enough to tell whether it works.
ROUNDS = int(os.environ.get("KPROXY_OUTAGE_ROUNDS", "1"))
LISTS_S = 20.0
UNAVAILABLE = '{"kind":"Status","status":"Failure","message":"etcdserver: no leader","reason":"%s","code":%d}'


@dataclass(frozen=True, slots=True)
class Fault:
    """`begin` makes it happen, `over` ends it. `refusals`: the proxy must have acted on so many connections."""

    name: str
    begin: Callable[[FaultProxy], None]
    refusals: int = 0

    def __str__(self) -> str:
        return self.name


def and_refuse(begin: Callable[[FaultProxy], None]) -> Callable[[FaultProxy], None]:
    """The fault itself lasts a moment; what comes after it is refused until the end."""

    def both(proxy: FaultProxy) -> None:
        proxy.refuse()
        begin(proxy)

    return both


def answering(status: int, reason: str, headers: dict[str, str]) -> Callable[[FaultProxy], None]:
    def begin(proxy: FaultProxy) -> None:
        proxy.answer(status, headers, UNAVAILABLE % (reason, status))
        proxy.break_connections()

    return begin


FAULTS = (
    Fault("cut by a reset", lambda proxy: proxy.cut()),
    Fault("cut by a FIN", lambda proxy: proxy.cut(reset=False)),
    Fault("stalled", lambda proxy: proxy.stall()),
    Fault("half closed", and_refuse(lambda proxy: proxy.half_close())),
    Fault("truncated in a line", lambda proxy: proxy.truncate_behind(b'"metadata":{"name":"born'), 2),
    Fault("truncated in a character", lambda proxy: proxy.truncate_behind(NOTE.encode()[:-1]), 2),
    Fault("429, Retry-After", answering(429, "TooManyRequests", {"Retry-After": "1"}), 3),
    Fault("503, Retry-After", answering(503, "ServiceUnavailable", {"Retry-After": "1"}), 3),
    Fault("500", answering(500, "InternalError", {}), 3),
)


@pytest.fixture(scope="module")
def proxy(control: ControlPlane) -> Iterator[FaultProxy]:
    with control.faults(port=FAULTS_PORT) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def tenants(control: ControlPlane, cluster: Cluster) -> Iterator[Tenants]:
    made = Tenants(control, cluster, "outages")
    yield made
    made.close()


@pytest.fixture(scope="module")
def kubeconfig(control: ControlPlane, proxy: FaultProxy) -> Path:
    return control.kubeconfig("outages", token=control.service_account_token(), server=proxy.url)


@pytest.fixture(scope="module")
def agent(cluster: Cluster, kubeconfig: Path, tenants: Tenants) -> Iterator[Agent]:
    with new_agent(cluster, kubeconfig) as agent:
        agent.wait_ready()
        yield agent


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_outage(
    fault: Fault, proxy: FaultProxy, tenants: Tenants, cluster: Cluster, agent: Agent, recoveries: Recoveries
) -> None:
    for _ in range(ROUNDS):
        fired = proxy.fired
        with outage(tenants, cluster, agent) as catch_up:
            over = time.monotonic() + scaled(OUTAGE_S)
            fault.begin(proxy)
            try:
                tenants.change()
                time.sleep(max(0.0, over - time.monotonic()))
                assert agent.health().status == 200, "it serves what it knows, so the node is healthy"
            finally:
                proxy.heal()
            recoveries.add(fault.name, catch_up())
        assert proxy.fired - fired >= fault.refusals


def test_the_api_server_is_restarted(
    control: ControlPlane, tenants: Tenants, cluster: Cluster, agent: Agent, recoveries: Recoveries
) -> None:
    """Killed, so that watches end without a word. The change comes as soon as the server is ready."""
    with outage(tenants, cluster, agent) as catch_up:
        control.restart_api_server(kill=True)
        tenants.change(controllers=False)
        recoveries.add("API server restarted", catch_up(lambda: tenants.forgotten))
        tenants.wait_for_slices()
        catch_up()


def test_history_is_compacted_meanwhile(
    control: ControlPlane, proxy: FaultProxy, tenants: Tenants, cluster: Cluster, agent: Agent, recoveries: Recoveries
) -> None:
    """The version it would go on from is unknown (410): it lists again, and compares.

    It is started anew, so that the delays between its lists are: the test before may have made it list.
    """
    agent.stop()
    agent.start()
    agent.wait_ready()
    with outage(tenants, cluster, agent) as catch_up:
        proxy.cut()
        try:
            tenants.change()
            control.compact()
            control.restart_api_server(kill=True)
        finally:
            proxy.heal()
        recoveries.add("410", catch_up())


def test_nothing_is_written_until_every_list_is_in(
    proxy: FaultProxy, tenants: Tenants, cluster: Cluster, agent: Agent
) -> None:
    """A start while the Services do not come, but the EndpointSlices do: the rules of before stay as they are."""
    eventually(lambda: tenants.served, "all is as it should be")
    with Traffic(cluster, tenants.ways(), set(PODS)) as traffic:
        agent.stop()
        before, fired = rules(cluster), proxy.fired
        proxy.truncate_behind(b'"object":{"kind":"Service",')
        try:
            agent.start()
            eventually(lambda: proxy.fired >= fired + 2, "the list of the Services broke off, twice", LISTS_S)
            assert (agent.health().status, rules(cluster)) == (503, before)
        finally:
            proxy.heal()
        agent.wait_ready()
        assert tenants.served
    traffic.check()


def rules(cluster: Cluster) -> list[str]:
    """The node's rules, without comments and counters."""
    saved = "".join(cluster.node.run(f"{tool}-save") for tool in ("iptables", "ip6tables"))
    assert "KUBE-" in saved
    return [line.split(" [")[0] for line in saved.splitlines() if line.startswith((":", "-A"))]


def test_half_open_streams_are_noticed(
    proxy: FaultProxy, tenants: Tenants, cluster: Cluster, agent: Agent, kubeconfig: Path, recoveries: Recoveries
) -> None:
    """What was open is dead and does not say so; new connections would work, but there seems to be no need for any."""
    agent.stop()
    with new_agent(cluster, kubeconfig, "tests.controlplane.impatient") as impatient:
        impatient.wait_ready()
        with outage(tenants, cluster, impatient) as catch_up:
            proxy.freeze()
            tenants.change()
            recoveries.add(f"half open, noticed after {SILENCE_S:g} s of silence", catch_up())
