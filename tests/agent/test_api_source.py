"""An object at the API server that does not decode: it is named and counted, and the rest goes on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from kproxy.agent import Agent
from kproxy.events.log import EventLog
from kproxy.health.shared import ProxierHealth
from kproxy.kube.credentials import Plain
from kproxy.metrics.registry import Metrics
from kproxy.sources.kubernetes import KubernetesSource
from kproxy.state.addresses import Family
from tests.agent.fakes import FakeProxier
from tests.kube.live_api import FAST, live_api
from tests.kube.texts import service, slice_
from tests.plan.iptables.rig import make_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from kproxy.plan.intent import PortIntent

PATIENCE_S = 30.0


class Remembering(FakeProxier):
    """It knows which Services have rules."""

    def __init__(self, family: Family) -> None:
        super().__init__(family)
        self.served: set[str] = set()

    def set_service(self, key: str, intents: Iterable[PortIntent], health_check_node_port: int) -> None:
        (self.served.add if tuple(intents) else self.served.discard)(key)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_one_that_does_not_decode_is_named_and_counted_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    metrics, proxier = Metrics(), Remembering(Family.IPV4)

    def refused() -> float | None:
        return metrics.registry.get_sample_value("kproxy_source_errors")

    async def run() -> None:
        async with live_api() as api:
            bad, torn = service("bad", ip="10.96.0.2"), slice_("torn")
            bad["spec"]["ports"][0]["port"] = "http"
            torn["endpoints"][0]["addresses"] = "10.0.0.1"
            for obj in (bad, torn, service("web"), slice_("web-1")):
                await api.put(obj)
            source = KubernetesSource(Plain(api.url), "node-a", timing=FAST, node_wait_s=0)
            config, health = make_config(), ProxierHealth(30.0)
            agent = asyncio.create_task(Agent(config, source, [proxier], health, metrics, EventLog()).run())
            try:
                await until(lambda: proxier.served == {"default/web"} and refused() == 2)
                await api.put(service("more", ip="10.96.0.3"))
                await until(lambda: proxier.served == {"default/web", "default/more"})
                await api.put(service("bad", ip="10.96.0.2"))
                await until(lambda: "default/bad" in proxier.served and refused() == 1)
                assert not agent.done()
            finally:
                agent.cancel()
                await asyncio.gather(agent, return_exceptions=True)

    with caplog.at_level(logging.INFO):
        asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
    assert [text for text in caplog.messages if text.startswith(("refused", "mended"))] == [
        "refused: Service default/bad: spec.ports[0].port: expected int, got str",
        "refused: EndpointSlice default/torn: endpoints[0].addresses: expected list, got str",
        "mended: Service default/bad: spec.ports[0].port: expected int, got str",
    ]
