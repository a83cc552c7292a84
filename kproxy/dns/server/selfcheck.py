"""Asks the server as a client would: on each of its addresses, for the zone's SOA."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

from kproxy.dns.codes import IN, RD, SOA
from kproxy.dns.names import absolute
from kproxy.dns.query import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.health.bind import BindAddress

PATIENCE_S: Final = 0.5


async def what_is_wrong(addresses: Iterable[BindAddress], domain: str) -> str:
    """Return which address does not answer in time, or how; "" when all do."""
    results = await asyncio.gather(*[_ask(address, domain) for address in addresses])
    return next((result for result in results if result), "")


async def _ask(address: BindAddress, domain: str) -> str:
    loop = asyncio.get_running_loop()
    id_ = os.urandom(2)
    query = id_ + HEADER.pack(0, RD, 1, 0, 0, 0)[2:] + absolute(domain) + SOA.to_bytes(2) + IN.to_bytes(2)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((address.host, address.port))
            sock.send(query)
            async with asyncio.timeout(PATIENCE_S):
                while (reply := await loop.sock_recv(sock, 1232))[:2] != id_:
                    continue
    except TimeoutError:
        return f"{address} did not answer within {PATIENCE_S:g} s"
    except OSError as error:
        return f"{address}: {(error.strerror or str(error)).lower()}"
    return f"{address} answered with code {reply[3] & 15}" if reply[3] & 15 else ""
