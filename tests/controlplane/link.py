"""One connection through the fault proxy, and what is wrong with all of them at present."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tests.controlplane.truncation import Truncation

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def socket_of(writer: asyncio.StreamWriter) -> socket.socket:
    """The socket below a stream. OSError when the other side has just ended the connection: then there is none."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is None:
        raise OSError(errno.ENOTCONN, "the connection has ended")
    return sock


@dataclass(slots=True)
class Faults:
    """What goes wrong at present, for all connections."""

    truncation: Callable[[], Truncation] | None = None
    answer: bytes = b""
    answers_left: int = 0


@dataclass(eq=False, slots=True)
class Link:
    """One connection of a client, and the one to the server that belongs to it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    truncation: Truncation | None = None
    #: The client has been told that no more will come; what the server still says goes nowhere.
    deaf: bool = False
    #: Nothing flows any more, and nobody is told.
    frozen: bool = False

    def end(self, *, reset: bool) -> None:
        for writer in (self.client, self.server):
            if reset:
                with contextlib.suppress(OSError):
                    socket_of(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                writer.transport.abort()
            else:
                writer.close()
