"""Many datagrams in one system call: recvmmsg and sendmmsg, which Python's socket module does not have. Linux.

The headers lie in arrays that are laid out once; what differs from call to call (lengths, where a reply begins) is
read and written as columns of those arrays, so that hardly any Python runs per datagram.
"""

from __future__ import annotations

import ctypes
import socket
from array import array
from itertools import accumulate
from typing import Final

SLOTS: Final = 64
"""Datagrams in one call."""
LATE: Final = SLOTS
"""The row of what is sent alone; a batch that was received may still have to be answered."""
ROWS: Final = SLOTS + 1
ROOM: Final = 2048
"""Octets of a query; one that is longer is cut, and then malformed. Nothing that resolvers send comes near it."""
OUT_ROOM: Final = SLOTS * 1232
NAME_ROOM: Final = 28
"""sizeof(struct sockaddr_in6), the larger of the two."""
CONTROL_ROOM: Final = 64

IP_PKTINFO: Final = 8


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """struct mmsghdr: a struct msghdr, and the length of the datagram."""

    _fields_ = (("message", _Msghdr), ("length", ctypes.c_uint))


# No wait ever happens inside these calls, so there is nothing to gain from releasing the interpreter's lock.
_libc = ctypes.PyDLL(None)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class DatagramBatch:
    """The buffers of one UDP socket. What `receive` gave stays valid until the next call of it.

    Replies leave from the address that was asked, also on a socket bound to all addresses.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._family = sock.family
        self._wildcard = _listens_everywhere(sock)
        if self._wildcard and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        elif self._wildcard:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._input = ctypes.create_string_buffer(SLOTS * ROOM)
        self._names = ctypes.create_string_buffer(ROWS * NAME_ROOM)
        self._control = ctypes.create_string_buffer(ROWS * CONTROL_ROOM)
        self._output = ctypes.create_string_buffer(OUT_ROOM)
        self._output_at = ctypes.addressof(self._output)
        self._output_view = memoryview(self._output).cast("B")
        self._names_view = memoryview(self._names).cast("B")
        self._control_view = memoryview(self._control).cast("B")
        self._in_iov, self._in = self._headers(ctypes.addressof(self._input), ROOM)
        self._out_iov, self._out = self._headers(self._output_at, 0)
        self._in_lengths = _column(self._in, _Header, "length", "I")
        self._in_controls = _column(self._in, _Msghdr, "control_length", "L")
        self._out_names = _column(self._out, _Msghdr, "name", "L")
        self._out_control = _column(self._out, _Msghdr, "control", "L")
        self._out_controls = _column(self._out, _Msghdr, "control_length", "L")
        self._out_at = _column(self._out_iov, _Iovec, "base", "L")
        self._out_lengths = _column(self._out_iov, _Iovec, "length", "L")
        self._interfaces = memoryview(self._control).cast("B").cast("I")[4 :: CONTROL_ROOM // 4]
        self._in_order = True

    def receive(self) -> list[bytes]:
        """Return the datagrams that have come, at most `SLOTS`; empty when there are none (or the socket failed)."""
        if self._wildcard:
            self._in_controls[:] = _CONTROL_ROOMS
        count = _recvmmsg(self._fd, self._in, SLOTS, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return []
        data = self._input
        return [data[at : at + length] for at, length in zip(_STARTS, self._in_lengths[:count].tolist(), strict=False)]  # type: ignore[misc]

    def send(self, replies: list[bytes], slots: list[int] | None = None) -> int:
        """Send replies, of at most 1232 octets each, and return how many the kernel took.

        `slots` are the positions of their queries in what `receive` returned; None: there is one for each, in order.
        """
        count = len(replies)
        lengths = [*map(len, replies)]
        joined = b"".join(replies)
        self._output_view[: len(joined)] = joined
        self._out_lengths[:count] = array("L", lengths)
        self._out_at[:count] = array("L", accumulate(lengths[:-1], initial=self._output_at))
        self._address(count, slots)
        sent = at = 0
        while at < count:
            more = _sendmmsg(self._fd, ctypes.byref(self._out, at * _HEADER), count - at, socket.MSG_DONTWAIT)
            # The one at which it stopped could not be sent; it may still be the only one.
            sent += max(more, 0)
            at += more if more > 0 else 1
        return sent

    def peer(self, slot: int) -> bytes:
        """Return who sent the datagram in a slot of what `receive` returned, for `send_to` and `peer_address`."""
        names, controls = slot * NAME_ROOM, slot * CONTROL_ROOM
        name = bytes(self._names_view[names : names + NAME_ROOM])
        if not self._wildcard:
            return name
        return name + bytes(self._control_view[controls : controls + self._in_controls[slot]])

    def send_to(self, peer: bytes, reply: bytes) -> int:
        """Send one reply later than its batch."""
        names, controls, control = LATE * NAME_ROOM, LATE * CONTROL_ROOM, peer[NAME_ROOM:]
        self._names_view[names : names + NAME_ROOM] = peer[:NAME_ROOM]
        self._control_view[controls : controls + len(control)] = control
        self._in_controls[LATE] = len(control)
        return self.send([reply], [LATE])

    def peer_address(self, peer: bytes) -> str:
        """Return the IP address of a peer."""
        if self._family == socket.AF_INET:
            return socket.inet_ntop(socket.AF_INET, peer[4:8])
        return socket.inet_ntop(socket.AF_INET6, peer[8:24])

    def _address(self, count: int, slots: list[int] | None) -> None:
        """Point the outgoing headers to the names of those who asked."""
        if slots is not None or not self._in_order:
            order = range(count) if slots is None else slots
            names, control = ctypes.addressof(self._names), ctypes.addressof(self._control)
            self._out_names[:count] = array("L", [names + NAME_ROOM * slot for slot in order])
            self._out_control[:count] = array("L", [control + CONTROL_ROOM * slot for slot in order])
            self._in_order = False
        if self._wildcard:
            order = range(count) if slots is None else slots
            lengths = self._in_controls.tolist()
            self._out_controls[:count] = array("L", [lengths[slot] for slot in order])
            if self._family == socket.AF_INET:
                # The address is to be kept; the way back is the routing table's to choose.
                self._interfaces[:] = _NO_INTERFACE

    def _headers(self, at: int, room: int) -> tuple[ctypes.Array[_Iovec], ctypes.Array[_Header]]:
        iov, headers = (_Iovec * ROWS)(), (_Header * ROWS)()
        size = 16 if self._family == socket.AF_INET else NAME_ROOM
        for slot in range(ROWS):
            iov[slot] = _Iovec(at + slot * room, room)
            headers[slot].message = _Msghdr(
                name=ctypes.addressof(self._names) + slot * NAME_ROOM,
                name_length=size,
                iov=ctypes.addressof(iov) + slot * ctypes.sizeof(_Iovec),
                iov_count=1,
                control=ctypes.addressof(self._control) + slot * CONTROL_ROOM if self._wildcard else None,
            )
        return iov, headers


_HEADER: Final = ctypes.sizeof(_Header)
_STARTS: Final = tuple(range(0, SLOTS * ROOM, ROOM))
_CONTROL_ROOMS: Final = array("L", [CONTROL_ROOM] * ROWS)
_NO_INTERFACE: Final = array("I", [0] * ROWS)


def _column(rows: ctypes.Array, kind: type[ctypes.Structure], field: str, format_: str) -> memoryview:  # type: ignore[type-arg]
    """Return one field of all rows as a view that can be read and written at once."""
    size = array(format_).itemsize
    offset: int = getattr(kind, field).offset  # of `kind`, with which each row begins
    return memoryview(rows).cast("B").cast(format_)[offset // size :: ctypes.sizeof(rows) // len(rows) // size]  # type: ignore[call-overload, no-any-return]


def _listens_everywhere(sock: socket.socket) -> bool:
    return sock.getsockname()[0] in ("0.0.0.0", "::")
