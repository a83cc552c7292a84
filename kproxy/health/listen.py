"""Opens listening sockets."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from kproxy.errors import ServerError

if TYPE_CHECKING:
    from kproxy.health.bind import BindAddress

BACKLOG = 128


def listen(address: BindAddress, *, purpose: str) -> socket.socket:
    """Listen on a TCP address and return the socket, which does not block.

    "", 0.0.0.0 and :: all mean every address of both families, as they do for Go's listeners and so for kube-proxy
    (IPv4 alone where the kernel has no IPv6). Raises ServerError, which names `purpose` ("the health server").
    """
    try:
        sock = _listen(address)
    except OSError as error:
        raise ServerError(
            f"{purpose} can't listen on {address}: {os.strerror(error.errno or 0)}", remedy=_remedy(error, address)
        ) from error
    sock.setblocking(False)
    return sock


def _listen(address: BindAddress) -> socket.socket:
    if address.all_addresses:
        if socket.has_dualstack_ipv6():
            everywhere = ("::", address.port)
            return socket.create_server(everywhere, family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        return socket.create_server(("0.0.0.0", address.port), backlog=BACKLOG)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)


def _remedy(error: OSError, address: BindAddress) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"another program has the port: `ss -ltnp 'sport = :{address.port}'` names it"
        case errno.EADDRNOTAVAIL:
            return "no interface of this node has the address"
        case errno.EAFNOSUPPORT:
            return "this kernel has no IPv6"
        case errno.EACCES:
            return "ports below 1024 need CAP_NET_BIND_SERVICE"
        case _:
            return ""
