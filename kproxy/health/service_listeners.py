"""Opens and closes the listeners of health check node ports."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kproxy.errors import ServerError
from kproxy.health.accept import AcceptLoop
from kproxy.health.bind import BindAddress
from kproxy.health.listen import listen
from kproxy.health.request import Site
from kproxy.health.service import ServiceKey, listener_changes, service_answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Address, IPv6Address

    from kproxy.health.answer import Answer
    from kproxy.health.shared import ProxierHealth

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ListenerFailure:
    """A Service whose health check port is not served; `error` says why."""

    service: ServiceKey
    port: int
    error: ServerError


class ServiceHealthListeners:
    """One listener per health check node port, for both families, on all addresses or on `addresses` alone.

    The caller passes the addresses of the node that match the node port addresses when those are restricted (they are
    looked at once, at the start); without any it listens on all. The requests are answered in threads of their own;
    `sync` is for one thread at a time.
    """

    def __init__(
        self,
        health: ProxierHealth,
        *,
        addresses: Iterable[IPv4Address | IPv6Address] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._clock = clock
        self._hosts = tuple(str(address) for address in addresses) or ("",)
        self._loop = AcceptLoop("the health check node ports")
        self._open: dict[ServiceKey, tuple[int, list[socket.socket]]] = {}
        # Replaced as a whole, never changed: the answering threads read it without a lock.
        self._counts: Mapping[ServiceKey, int] = {}

    def sync(self, desired: Mapping[ServiceKey, tuple[int, int]]) -> tuple[ListenerFailure, ...]:
        """Serve exactly `desired`: (namespace, name) -> (port, local endpoints).

        To be called after every successful sync. Listeners of Services that are gone or have another port are closed
        before any is opened. What could not be opened is returned, and tried again at the next call.
        """
        changes = listener_changes(self.ports(), desired)
        for key in changes.close:
            log.debug("closing the health check port of Service %s/%s", *key)
            self._loop.remove(self._open.pop(key)[1])
        self._counts = {key: count for key, (_, count) in desired.items()}
        failures = [
            ListenerFailure(key, port, ServerError(f"{_purpose(key)} can't listen on :{port}: {_purpose(holder)} does"))
            for key, port, holder in changes.refused
        ]
        for key, port in changes.open:
            try:
                self._open[key] = (port, self._listen(key, port))
            except ServerError as error:
                failures.append(ListenerFailure(key, port, error))
        return tuple(failures)

    def ports(self) -> dict[ServiceKey, int]:
        """Return the ports that are served: (namespace, name) -> port."""
        return {key: port for key, (port, _) in self._open.items()}

    def close(self) -> None:
        """Stop serving."""
        self._loop.close()
        self._open.clear()

    def _listen(self, key: ServiceKey, port: int) -> list[socket.socket]:
        """Listen on every address, or on none when one of them fails."""
        sockets: list[socket.socket] = []
        try:
            for host in self._hosts:
                sockets.append(listen(BindAddress(host, port), purpose=_purpose(key)))
        except ServerError:
            for opened in sockets:
                opened.close()
            raise
        site = Site(fallback=functools.partial(self._answer, key))
        for listening in sockets:
            self._loop.add(listening, site)
        return sockets

    def _answer(self, key: ServiceKey) -> Answer:
        return service_answer(key, self._counts.get(key, 0), self._health.alive(self._clock()))


def _purpose(key: ServiceKey) -> str:
    return f"the health check of Service {key[0]}/{key[1]}"
