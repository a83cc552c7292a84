"""The Kubernetes API as a source: Services, EndpointSlices, ServiceCIDRs and the own Node, each by a reflector."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from kproxy.errors import SourceError
from kproxy.kube.client import ApiClient
from kproxy.kube.reflector import Reflector
from kproxy.kube.resources import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, own_node
from kproxy.sources.changes import Change, ChangeBatch
from kproxy.sources.own_node import missing, with_last_facts
from kproxy.sources.troubles import Trouble, Troubles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from kproxy.errors import ObjectError
    from kproxy.kube import wire
    from kproxy.kube.client import Exchange
    from kproxy.kube.credentials import Credentials
    from kproxy.kube.requests import Timing
    from kproxy.kube.resources import Resource

log = logging.getLogger(__name__)

NODE_WAIT_S: Final = 30.0
"""For how long the first batch waits for the own Node and its address, as kube-proxy does; then it goes without."""

POD_CIDRS_WAIT_S: Final = 300.0
"""The same where podCIDRs are needed: they are allocated later, and kube-proxy ends without them."""


class KubernetesSource:
    """The objects that an API server holds: what a proxy wants, and the own Node.

    `resources` are what to follow beside the Node; with "" for its name there is none to follow or to wait for.
    What hinders the connection is logged when it begins and when it is over; it is never an end: the source goes on
    trying. `troubles` tells it at any time. `pod_cidrs`: the own Node is of no use without them.
    """

    def __init__(
        self,
        credentials: Credentials,
        node_name: str,
        *,
        resources: Sequence[Resource] = (SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS),
        pod_cidrs: bool = False,
        timing: Timing | None = None,
        node_wait_s: float | None = None,
        observe: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._client = ApiClient(credentials, observe) if observe else ApiClient(credentials)
        self._node_name = node_name
        self._pod_cidrs = pod_cidrs
        self._node_wait_s = (POD_CIDRS_WAIT_S if pod_cidrs else NODE_WAIT_S) if node_wait_s is None else node_wait_s
        followed = (own_node(node_name), *resources) if node_name else resources
        self._reflectors = tuple(Reflector(resource, random.random, timing) for resource in followed)
        self._node: wire.Node | None = None
        self._troubles = Troubles()
        self._absent: set[str] = set()

    def troubles(self) -> tuple[str, ...]:
        """Return why which resource says nothing new at present; empty when all is well."""
        return tuple(f"{one.resource.plural}: {one.trouble}" for one in self._reflectors if one.trouble)

    async def changes(self) -> AsyncGenerator[ChangeBatch, None]:
        """Yield first all there is, then a batch as soon as there are changes; what came meanwhile is one batch.

        Raises SourceError when podCIDRs are needed and there are none after a while.
        """
        wake = asyncio.Event()
        tasks = [asyncio.create_task(self._client.run(one, wake.set)) for one in self._reflectors]
        for task in tasks:
            # It never ends by itself: if it does, that is an error to be raised here.
            task.add_done_callback(lambda _: wake.set())
        try:
            async for changes in self._initial(wake, tasks):
                yield ChangeBatch(changes, complete=False)
            told = self._problems()
            yield ChangeBatch(self._changes(), told)
            while True:
                await self._news(wake, tasks)
                changes, problems = self._changes(), self._problems()
                if changes or _texts(problems) != _texts(told):
                    told = problems
                    yield ChangeBatch(changes, problems)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _initial(
        self, wake: asyncio.Event, tasks: Sequence[asyncio.Task[None]]
    ) -> AsyncGenerator[tuple[Change, ...], None]:
        """Yield what comes until everything was listed once, and then for a while until the own Node is there."""
        while not all(one.synced or (one.resource.optional and one.trouble) for one in self._reflectors):
            await self._news(wake, tasks)
            if changes := self._changes():
                yield changes
        if not self._node_name:
            return
        lacking, wait_s = self._missing(), self._node_wait_s
        if not lacking or wait_s <= 0:
            return
        log.info("waiting up to %g s for %s", wait_s, lacking)
        meanwhile: list[Change] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while lacking := self._missing():
                    await self._news(wake, tasks)
                    meanwhile += self._changes()
        if meanwhile:
            yield tuple(meanwhile)
        if not lacking:
            log.info("Node %s is there", self._node_name)
        elif self._pod_cidrs:
            raise SourceError(
                f"--detect-local-mode NodeCIDR: no {lacking} after {wait_s:g} s",
                remedy="see --hostname-override, and that the cluster allocates podCIDRs to its Nodes",
            )
        else:
            log.warning("no %s after %g s (see --hostname-override): going on without", lacking, wait_s)

    def _missing(self) -> str:
        return missing(self._node_name, self._node, pod_cidrs=self._pod_cidrs)

    async def _news(self, wake: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
        await wake.wait()
        wake.clear()
        for task in tasks:
            if task.done():
                task.result()
        self._log()

    def _changes(self) -> tuple[Change, ...]:
        return tuple([self._lasting(change) for one in self._reflectors for change in one.take()])

    def _lasting(self, change: Change) -> Change:
        """Return the change; of the own Node what it said last stays where it says nothing any more."""
        if change.kind != "Node":
            return change
        now = cast("wire.Node | None", change.obj)
        if now is None:
            log.warning("Node %s was deleted: going on with what it said last", self._node_name)
        self._node = with_last_facts(now, self._node)
        return Change(change.kind, change.key, self._node)

    def _problems(self) -> tuple[ObjectError, ...]:
        return tuple(problem for one in self._reflectors for problem in one.problems)

    def _log(self) -> None:
        """Say what hinders, once, and when it is over."""
        server = self._client.server or "the API server"
        begun, over = self._troubles.news(
            Trouble("" if one.server_wide else one.resource.plural, one.trouble)
            for one in self._reflectors
            if one.trouble
        )
        for resource in over:
            log.info("%s: followed again", resource or server)
        for trouble in begun:
            what = f"{trouble.resource} of {server}" if trouble.resource else server
            log.warning("%s: %s; trying again", what, trouble.why)
        absent = {one.resource.plural for one in self._reflectors if one.absent}
        for name in absent - self._absent:
            log.info("%s: not served by %s, so there are none", name, server)
        self._absent = absent


def _texts(problems: Sequence[ObjectError]) -> list[str]:
    return [str(problem) for problem in problems]
