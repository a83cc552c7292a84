"""The Kubernetes API as a source: Services, EndpointSlices and the own Node, each followed by a reflector."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from kproxy.kube.client import ApiClient
from kproxy.kube.reflector import Reflector
from kproxy.kube.resources import ENDPOINT_SLICES, SERVICES, own_node
from kproxy.sources.changes import ChangeBatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from kproxy.errors import ObjectError
    from kproxy.kube.credentials import Credentials
    from kproxy.kube.requests import Timing
    from kproxy.sources.changes import Change

log = logging.getLogger(__name__)

NODE_WAIT_S = 30.0
"""For how long the first batch waits for the own Node to be there; kube-proxy waits as long."""


class KubernetesSource:
    """The objects that an API server holds, with kube-proxy's selectors.

    What hinders the connection is logged when it begins and when it is over; it is never an end: the source goes on
    trying. `troubles` tells it at any time.
    """

    def __init__(
        self,
        credentials: Credentials,
        node_name: str,
        *,
        timing: Timing | None = None,
        node_wait_s: float = NODE_WAIT_S,
    ) -> None:
        self._client = ApiClient(credentials)
        self._node_name = node_name
        self._node_wait_s = node_wait_s
        resources = (own_node(node_name), SERVICES, ENDPOINT_SLICES)
        self._reflectors = tuple(Reflector(resource, random.random, timing) for resource in resources)
        self._logged: dict[str, str] = {}

    def troubles(self) -> tuple[str, ...]:
        """Return why which resource says nothing new at present; empty when all is well."""
        return tuple(f"{one.resource.plural}: {one.trouble}" for one in self._reflectors if one.trouble)

    async def changes(self) -> AsyncGenerator[ChangeBatch, None]:
        """Yield first all there is, then a batch as soon as there are changes; what came meanwhile is one batch."""
        wake = asyncio.Event()
        tasks = [asyncio.create_task(self._client.run(one, wake.set)) for one in self._reflectors]
        for task in tasks:
            # It never ends by itself: if it does, that is an error to be raised here.
            task.add_done_callback(lambda _: wake.set())
        try:
            await self._initial(wake, tasks)
            told = self._problems()
            yield ChangeBatch(tuple(self._changes()), told)
            while True:
                await self._news(wake, tasks)
                changes, problems = tuple(self._changes()), self._problems()
                if changes or _texts(problems) != _texts(told):
                    told = problems
                    yield ChangeBatch(changes, problems)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _initial(self, wake: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait until everything was listed once, and then a while for the own Node."""
        while not all(one.synced for one in self._reflectors):
            await self._news(wake, tasks)
        node = self._reflectors[0]
        if node.holds(self._node_name) or self._node_wait_s <= 0:
            return
        log.info("waiting up to %g s for Node %s to be there", self._node_wait_s, self._node_name)
        try:
            async with asyncio.timeout(self._node_wait_s):
                while not node.holds(self._node_name):
                    await self._news(wake, tasks)
        except TimeoutError:
            log.warning("there is no Node %s (see --hostname-override): going on without it", self._node_name)

    async def _news(self, wake: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
        await wake.wait()
        wake.clear()
        for task in tasks:
            if task.done():
                task.result()
        self._log()

    def _changes(self) -> list[Change]:
        return [change for one in self._reflectors for change in one.take()]

    def _problems(self) -> tuple[ObjectError, ...]:
        return tuple(problem for one in self._reflectors for problem in one.problems)

    def _log(self) -> None:
        """Say what hinders, once, and when it is over."""
        for one in self._reflectors:
            name, before = one.resource.plural, self._logged.get(one.resource.plural, "")
            if one.trouble and one.trouble != before:
                server = self._client.server or "the API server"
                log.warning("%s of %s: %s; trying again", name, server, one.trouble)
            elif before and not one.trouble:
                log.info("%s: followed again", name)
            self._logged[name] = one.trouble


def _texts(problems: Sequence[ObjectError]) -> list[str]:
    return [str(problem) for problem in problems]
