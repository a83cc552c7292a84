"""A conversation that stays open: one TCP or SCTP connection, or datagrams from one fixed source port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.lab.probe import KIND, RESET_ON_CLOSE, Answer, Outcome, Protocol, failure
from tests.lab.run import scaled

if TYPE_CHECKING:
    from tests.lab.namespace import Namespace


class Held:
    """Opened at once; `opened` is the first answer. Every `ask()` goes over the same connection, or from the same port.

    For UDP this is one flow to conntrack, which is what tests of stale entries need. `shared_port` lets another one, to
    somewhere else, have the same source port. Close it, or use it in a `with`.
    """

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        port: int,
        protocol: Protocol = "tcp",
        *,
        source_address: str = "",
        source_port: int = 0,
        shared_port: bool = False,
        timeout_s: float = 3.0,
    ) -> None:
        self._datagram = protocol == "udp"
        self._there = (address, port)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = namespace.socket(family, *KIND[protocol])
        self._socket.settimeout(scaled(timeout_s))
        if not self._datagram:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        if shared_port:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((source_address, source_port))
            self._socket.connect(self._there)
        except OSError as error:
            self._socket.close()
            self.opened = failure(error, opened=False)
            return
        self.opened = self.ask()

    def ask(self, question: str = "hello", timeout_s: float | None = None) -> Answer:
        """Send one line; returns who answered it, or what became of it. Late answers to earlier lines do not count."""
        if timeout_s is not None:
            self._socket.settimeout(scaled(timeout_s))
        try:
            self._send(question)
            while True:
                data = self._socket.recv(4096)
                if not data:
                    return Answer(Outcome.BROKEN, detail="closed by the other side")
                answer = Answer.parse(data.splitlines()[-1])
                if answer.detail.strip() == question:
                    return answer
        except OSError as error:
            return failure(error, opened=not self._datagram)

    def _send(self, question: str) -> None:
        try:
            self._socket.sendall(question.encode() + b"\n")
        except PermissionError:
            # A rule in OUTPUT took the datagram. Whether it was rejected or dropped, receiving will tell.
            if not self._datagram:
                raise

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
