"""Accepts on any number of listening sockets in one thread, and serves each connection in a thread of its own.

A node may have hundreds of health check node ports; a thread for each (as `http.server` would have it) is too much.
The accepting thread itself never waits for a client, nor for the agent. What clients can take from the agent is
bounded: when too many connections are open the oldest is cut, so clients that stay silent can't keep others out.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import threading
from typing import TYPE_CHECKING

from kproxy.health.request import Site, serve_connection

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

# accept() then leaves the connection in the queue.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AcceptLoop:
    """The accepting thread and what it serves. `add`, `remove` and `close` may be called from any thread."""

    def __init__(self, name: str, *, max_connections: int = 128, timeout_s: float = 10.0) -> None:
        """Start the thread. `timeout_s` bounds every single wait for a client's bytes."""
        self._name = name
        self._max_connections = max_connections
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connections: dict[socket.socket, None] = {}
        self._exhausted = False
        self._selector = selectors.DefaultSelector()
        self._wake, wake_end = socket.socketpair()
        self._selector.register(wake_end, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, listening: socket.socket, site: Site) -> None:
        """Accept on a listening socket from now on; the loop owns it."""
        with self._lock:
            self._selector.register(listening, selectors.EVENT_READ, site)

    def remove(self, sockets: Iterable[socket.socket]) -> None:
        """Close listening sockets. Their ports are free when this returns; open connections are served to their end."""
        for listening in sockets:
            with self._lock:
                self._selector.unregister(listening)
                listening.close()

    def close(self) -> None:
        """Close all sockets, cut all connections and end the thread. Once is enough; twice does no harm."""
        with self._lock:
            if self._stop.is_set():
                return
            self._stop.set()
            self._wake.send(b"x")
        self._thread.join()
        with self._lock:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            self._selector.close()
            self._wake.close()
            while self._cut_oldest():
                pass

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select():
                if isinstance(key.data, Site) and isinstance(key.fileobj, socket.socket):
                    self._accept(key.fileobj, key.data)

    def _accept(self, listening: socket.socket, site: Site) -> None:
        with self._lock:  # so that `remove` can't close the socket in between
            try:
                connection, peer = listening.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    return  # the client has gone, or `remove` was faster
                failure = error
            else:
                if len(self._connections) >= self._max_connections:
                    self._cut_oldest()
                self._connections[connection] = None
                self._start(connection, peer, site)
                return
            cut = self._cut_oldest()
        # One warning in a life: each of the refused clients would make another.
        level = logging.DEBUG if self._exhausted else logging.WARNING
        log.log(level, "%s: can't accept connections: %s", self._name, failure.strerror)
        self._exhausted = True
        # The socket stays readable, so without a pause this would spin; what was cut is closed in a moment.
        self._stop.wait(0.005 if cut else 0.1)

    def _start(self, connection: socket.socket, peer: tuple[str, int], site: Site) -> None:
        thread = threading.Thread(
            target=self._serve, args=(connection, peer, site), name=f"{self._name}-client", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            log.warning("%s: can't serve a connection: %s", self._name, error)
            self._connections.pop(connection)
            connection.close()

    def _serve(self, connection: socket.socket, peer: tuple[str, int], site: Site) -> None:
        try:
            serve_connection(connection, peer, site, timeout_s=self._timeout_s)
        finally:
            with self._lock:  # so that nobody cuts a socket that is closed, or worse, another one by then
                self._connections.pop(connection, None)
            connection.close()

    def _cut_oldest(self) -> bool:
        """Break off the oldest connection; its thread notices and closes it. False without one. Needs the lock."""
        connection = next(iter(self._connections), None)
        if connection is None:
            return False
        del self._connections[connection]
        with contextlib.suppress(OSError):  # the client may have gone already
            connection.shutdown(socket.SHUT_RDWR)
        return True
