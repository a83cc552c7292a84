"""The loop itself, over a fake mode: what it must not forget. No kernel, no packets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kproxy import agent as agent_module
from kproxy.agent import Agent
from kproxy.events.log import EventLog
from kproxy.health.shared import ProxierHealth
from kproxy.metrics.registry import Metrics
from kproxy.sources.changes import ChangeBatch
from kproxy.state.addresses import Family
from tests.agent.fakes import FakeProxier
from tests.plan.iptables.rig import make_config
from tests.state.objects import here, service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

PERIOD_S, LOOKS, PATIENCE_S = 0.05, 5, 30.0


class Churn:
    """A source that never comes to rest: a change as soon as the last one has been taken."""

    def __init__(self) -> None:
        self.batches = 0

    async def changes(self) -> AsyncIterator[ChangeBatch]:
        while True:
            yield ChangeBatch((here(service(ports=[{"port": 1 + self.batches % 65535}])),))
            self.batches += 1
            await asyncio.sleep(0)


def test_changes_without_end_do_not_keep_it_from_looking_after_the_rules() -> None:
    """At the latest after a sync period it looks whether somebody removed them, however much there is to write."""
    proxier, churn = FakeProxier(Family.IPV4), Churn()
    run_until(agent_of(proxier, churn), lambda: proxier.looks >= LOOKS)
    assert proxier.looks >= LOOKS
    assert proxier.syncs > proxier.looks, "the changes were written meanwhile"


def test_what_stays_of_another_proxy_is_looked_at_until_nothing_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the syncs: it takes as long as connections last that the other one made."""
    monkeypatch.setattr(agent_module, "TAKE_OVER_EVERY_S", 0.01)
    proxier, looks = FakeProxier(Family.IPV4), 0

    def something_stays() -> bool:
        nonlocal looks
        looks += 1
        assert looks <= LOOKS, "it goes on when nothing is left"
        return looks < LOOKS

    agent = agent_of(proxier, Churn(), something_stays)
    run_until(agent, lambda: agent._taking_over is not None and agent._taking_over.done())
    assert looks == LOOKS


def agent_of(proxier: FakeProxier, churn: Churn, take_over: Callable[[], bool] = lambda: False) -> Agent:
    config = make_config(iptables_sync_period=PERIOD_S, iptables_min_sync_period=0.0)
    return Agent(config, churn, [proxier], ProxierHealth(PERIOD_S), Metrics(), EventLog(), take_over=take_over)


def run_until(agent: Agent, enough: Callable[[], bool]) -> None:
    async def run() -> None:
        running = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not enough() and not running.done():
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
