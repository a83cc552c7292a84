"""The loop itself, over a fake mode: what it must not forget. No kernel, no packets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
    from collections.abc import AsyncIterator

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
    config = make_config(iptables_sync_period=PERIOD_S, iptables_min_sync_period=0.0)
    agent = Agent(config, churn, [proxier], ProxierHealth(PERIOD_S), Metrics(), EventLog())

    async def run() -> None:
        running = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while proxier.looks < LOOKS and not running.done():
                    await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert proxier.looks >= LOOKS
    assert proxier.syncs > proxier.looks, "the changes were written meanwhile"
