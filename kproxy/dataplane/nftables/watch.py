"""Listens to what others do to our nftables tables."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
import threading
from typing import TYPE_CHECKING

from kproxy.dataplane.nftables.reader import current_generation
from kproxy.errors import KernelError
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.nfnetlink import NETLINK_NETFILTER
from kproxy.netlink.nftables.notifications import GROUP, ForeignChanges, filter_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.netlink.nftables.notifications import ForeignTransaction
    from kproxy.netlink.socket import NetlinkSocket

# linux/netlink.h and asm-generic/socket.h; Python has no names for them.
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33

_DATAGRAM = 1 << 16
_AT_ONCE = 64
_MANY = 500
_SOCKETS = 8


class TableWatch:
    """Notices transactions of other programs on the tables of one name, in every family.

    It belongs to the network namespace of the thread that makes it. `fileno()` becomes readable when somebody else
    changed nftables, for an event loop; `changes()` takes that up. Our own transactions don't wake it, provided that
    they are committed inside `committing`. `room` is what may wait to be taken up, in bytes of the kernel's memory.
    Raises `KernelError` when there is no such socket.
    """

    def __init__(self, table: str, *, room: int = 8 << 20) -> None:
        self._foreign = ForeignChanges(table)
        self._own_ports: list[int] = []
        self._lock = threading.Lock()
        self.lost = False
        """Notifications were lost, so that everything has to be looked at; until it is set to False."""
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
            )
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, room)
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, GROUP)
        except OSError as error:
            raise KernelError(f"watch nftables: {error.strerror}") from None

    @contextlib.contextmanager
    def committing(self, netlink: NetlinkSocket, elements: int) -> Iterator[None]:
        """Take what is committed on this socket meanwhile for our own: at most one transaction. For any thread.

        A notification for each of 100,000 `elements` would take the kernel ten times as long as they themselves, so
        for many we stop listening; whether somebody else came between is then told by the generation.
        """
        with self._lock:
            self._own(netlink.port)
            if elements < _MANY:
                yield
                return
            before = current_generation(netlink)
            self._socket.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, GROUP)
            try:
                yield
            finally:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, GROUP)
            if current_generation(netlink) - before not in (0, 1):
                self.lost = True

    def _own(self, port: int) -> None:
        if port in self._own_ports:
            return
        # Sockets come and go (a family's, after it failed); their ports are not given anew for a long time.
        self._own_ports = [*self._own_ports[1 - _SOCKETS :], port]
        program = filter_program(self._own_ports)
        buffer = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def changes(self) -> list[ForeignTransaction]:
        """Return what others did to our tables and has not been returned yet. Does not block.

        May leave something for the next call, so that an event loop is not held up: wait on the descriptor again.
        """
        found: list[ForeignTransaction] = []
        for _ in range(_AT_ONCE):
            try:
                datagram, sender = self._socket.recvfrom(_DATAGRAM)
                if sender[0] == 0:  # else from another process, not from the kernel
                    found += self._foreign.feed(datagram, self._own_ports)
            except BlockingIOError:
                break
            except OSError as error:
                self._lost()
                if error.errno != errno.ENOBUFS:
                    break
            except MalformedMessage:
                self._lost()
        return found

    def _lost(self) -> None:
        self.lost = True
        self._foreign.reset()
