"""Opens the server's sockets, and says who has a port that is taken."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from kproxy.dns.feed import Listening
from kproxy.dns.proc_net import Bound, read_bound
from kproxy.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kproxy.health.bind import BindAddress

BACKLOG: Final = 1024
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Room for the queries that come while the worker does something else for a moment."""
SO_RCVBUFFORCE: Final = 33
SO_ATTACH_REUSEPORT_CBPF: Final = 51
BPF_RET: Final = 0x06


class Open(NamedTuple):
    """An open socket, and what the workers call it."""

    sock: socket.socket
    listening: Listening


def open_sockets(addresses: Iterable[BindAddress]) -> list[Open]:
    """Open a UDP and a TCP socket for each address; other processes of the user may open the same (SO_REUSEPORT).

    From now on the kernel queues what comes for them. Raises `ServerError` that names the address and the reason.
    """
    with contextlib.ExitStack() as closing:
        found = []
        for address in addresses:
            for protocol, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
                sock = _bound(address, kind)
                closing.callback(sock.close)
                if kind == socket.SOCK_STREAM:
                    sock.listen(BACKLOG)
                found.append(Open(sock, Listening(protocol, f"dns://{address}")))
        closing.pop_all()
    return found


def check(addresses: Iterable[BindAddress]) -> None:
    """See whether the addresses can be listened on, without taking any query from who listens there now.

    Raises `ServerError`. A TCP socket that is bound gets no connections until it listens.
    """
    for address in addresses:
        _bound(address, socket.SOCK_STREAM).close()


def taken(addresses: Iterable[BindAddress]) -> bool:
    """Tell whether somebody listens on one of the addresses now."""
    return any(next(_holders(address, "udp"), None) is not None for address in addresses)


def shared(addresses: Iterable[BindAddress], own: int) -> bool:
    """Tell whether somebody beside us, who have `own` sockets for each, listens on all of the addresses."""
    return all(sum(1 for _ in _holders(address, "udp")) > own for address in addresses)


def listeners(addresses: Iterable[BindAddress]) -> dict[str, int]:
    """Return how many TCP sockets listen on each of the addresses, by its text."""
    return {
        str(address): sum(str(one.address) == address.host for one in _holders(address, "tcp")) for address in addresses
    }


def prefer(opened: Sequence[Sequence[Open]], before: Mapping[str, int]) -> None:
    """Have new TCP connections come to the sockets that were opened now, not to those that listened `before`.

    So none is under way to the others any more when these end: what ends resets a connection whose handshake it has
    begun. The kernel numbers the sockets of a port in the order in which they listen; one that ends is replaced by the
    last. A filter that says a number (`ret #NUMBER`) chooses; one that is too high leaves the choice to the hash
    again. With the number here that is so when all the others have ended (unless there are more of them than of these).
    """
    for one in opened[0]:
        others = before.get(one.listening.server.removeprefix("dns://"), 0)
        if one.sock.type != socket.SOCK_STREAM or not others:
            continue
        code = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RET, 0, 0, max(others, len(opened))))
        program = struct.pack("@HP", 1, ctypes.addressof(code))
        with contextlib.suppress(OSError):  # Linux before 4.6: it goes on without
            one.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)


def _bound(address: BindAddress, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = None
    try:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _set_buffer(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        if sock is not None:
            sock.close()
        protocol = "udp" if kind == socket.SOCK_DGRAM else "tcp"
        raise _error(error, address, protocol) from error
    return sock


def _set_buffer(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _error(error: OSError, address: BindAddress, protocol: str) -> ServerError:
    what = f"--dns-bind-address: can't listen on {address} ({protocol.upper()})"
    match error.errno:
        case errno.EADDRINUSE:
            holder = next(_holders(address, protocol), None)
            who = _process(holder.inode) if holder else ""
            return ServerError(f"{what}: it is taken{who}", remedy="stop that, or listen on another address")
        case errno.EADDRNOTAVAIL:
            return ServerError(f"{what}: no interface of this node has the address", remedy="add it to one")
        case errno.EACCES | errno.EPERM:
            return ServerError(
                f"{what}: {os.strerror(error.errno)}", remedy="ports below 1024 need CAP_NET_BIND_SERVICE"
            )
    return ServerError(f"{what}: {os.strerror(error.errno or 0)}")


def _holders(address: BindAddress, protocol: str) -> Iterator[Bound]:
    for table in (protocol, protocol + "6"):
        with contextlib.suppress(OSError):
            for bound in read_bound(Path("/proc/net", table).read_text(encoding="ascii")):
                if bound.port == address.port and bound.meets(address.host):
                    yield bound


def _process(inode: str) -> str:
    """Return " by NAME (process ID)", "" if it can't be seen: that of others takes privileges."""
    wanted = f"socket:[{inode}]"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(str(fd.readlink()) == wanted for fd in (entry / "fd").iterdir()):
                name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f" by {name} (process {entry.name})"
    return ""
