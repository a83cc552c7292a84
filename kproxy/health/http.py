"""A small HTTP server: an address, what it answers, and patience while the address is taken."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from kproxy.errors import ServerError
from kproxy.health.accept import AcceptLoop
from kproxy.health.listen import listen

if TYPE_CHECKING:
    import socket

    from kproxy.health.bind import BindAddress
    from kproxy.health.request import Site

log = logging.getLogger(__name__)

RETRY_S = 5.0


class HttpServer:
    """Serves `site` in threads of its own, so it answers whatever the agent is doing.

    When the address can't be bound it is tried again every `retry_s`, for ever, as kube-proxy does; with `hard_fail`
    (--bind-address-hard-fail) the constructor raises ServerError instead.
    """

    def __init__(
        self, purpose: str, bind: BindAddress, site: Site, *, hard_fail: bool = False, retry_s: float = RETRY_S
    ) -> None:
        """Bind and serve. `purpose` is for messages: "the health server"."""
        self._purpose = purpose
        self._bind = bind
        self._site = site
        self._retry_s = retry_s
        self._stop = threading.Event()
        self._bound = threading.Event()
        self._port: int | None = None
        self._retry_thread: threading.Thread | None = None
        try:
            listening = listen(bind, purpose=purpose)
        except ServerError as error:
            if hard_fail:
                raise
            log.warning("%s; trying again every %g s", error, retry_s)
            self._loop = AcceptLoop(purpose)
            self._retry_thread = threading.Thread(target=self._retry, name=f"{purpose} (bind)", daemon=True)
            self._retry_thread.start()
        else:
            self._loop = AcceptLoop(purpose)
            self._serve(listening)

    @property
    def port(self) -> int | None:
        """The TCP port it listens on; None as long as it could not bind."""
        return self._port

    def wait_bound(self, timeout_s: float | None = None) -> bool:
        """Wait until it listens; False when `timeout_s` passes first."""
        return self._bound.wait(timeout_s)

    def close(self) -> None:
        """Stop listening, and trying to."""
        self._stop.set()
        if self._retry_thread is not None:
            self._retry_thread.join()
        self._loop.close()

    def _serve(self, listening: socket.socket) -> None:
        self._port = listening.getsockname()[1]
        self._loop.add(listening, self._site)
        self._bound.set()

    def _retry(self) -> None:
        while not self._stop.wait(self._retry_s):
            try:
                listening = listen(self._bind, purpose=self._purpose)
            except ServerError as error:
                log.debug("%s", error)
            else:
                log.info("%s listens on %s now", self._purpose, self._bind)
                self._serve(listening)
                return
