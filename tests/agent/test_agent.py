"""The loop itself, over a fake mode: what it must not forget. No kernel, no packets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
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

    from kproxy.dataplane.mode import Drift, Synced

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


def test_a_sync_that_is_under_way_at_the_end_still_has_what_it_needs() -> None:
    """It tells the listener which changes are its own: without that it could not write the rest."""
    listener = Listener()
    proxier = SlowProxier(listener)
    agent = agent_of(proxier, Churn(), drift=listener)
    run_until(agent, proxier.entered.is_set)
    assert proxier.closed == [False]
    assert listener.closed


class Listener:
    """A `Drift` that has nothing to tell."""

    def __init__(self) -> None:
        self.closed = False
        self._ends = socket.socketpair()

    def fileno(self) -> int:
        return self._ends[0].fileno()

    def read(self) -> dict[Family, list[str]]:
        return {}

    def close(self) -> None:
        self.closed = True
        for end in self._ends:
            end.close()


class SlowProxier(FakeProxier):
    """Its first sync lasts until the agent has begun to stop. `closed`: whether the listener was, at its end."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(Family.IPV4)
        self.entered = threading.Event()
        self.closed: list[bool] = []
        self._listener = listener

    def sync(self, *, full: bool = False) -> Synced:
        self.entered.set()
        deadline = time.monotonic() + 0.5  # it has nothing to wait for: the listener is closed too early or it is not
        while not self._listener.closed and time.monotonic() < deadline:
            time.sleep(0.01)
        self.closed.append(self._listener.closed)
        return super().sync(full=full)


def agent_of(
    proxier: FakeProxier, churn: Churn, take_over: Callable[[], bool] = lambda: False, drift: Drift | None = None
) -> Agent:
    config = make_config(iptables_sync_period=PERIOD_S, iptables_min_sync_period=0.0)
    health = ProxierHealth(PERIOD_S)
    return Agent(config, churn, [proxier], health, Metrics(), EventLog(), drift=drift, take_over=take_over)


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
