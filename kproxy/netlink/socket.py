"""A netlink socket: moves the bytes of an exchange. What can be decided without a socket is decided in `exchange`.

Blocking: the kernel does the work of a request inside send(), and no netlink send can be made not to block. Call it
from a worker thread where an event loop runs. One socket is for one thread; it belongs to the network namespace of the
thread that opened it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Self

from kproxy.errors import FeatureMissing, KernelError
from kproxy.netlink.errors import DumpInterrupted, MalformedMessage, NetlinkRefused, refusal
from kproxy.netlink.exchange import Acks, Reply, Request
from kproxy.netlink.nfnetlink import NETLINK_NETFILTER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from kproxy.netlink.message import Message

# linux/netlink.h and asm-generic/socket.h; Python has no names for them.
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33

# The kernel sends at most 32 KiB at a time in a dump; single answers (a large nftables object) may be longer.
_DATAGRAM = 1 << 18
# An acknowledgement takes 832 bytes of the receive buffer (measured, 6.18); with an error text up to twice that.
_ACK_ROOM = 2048
_ACKS_AT_ONCE = 1024


class NetlinkSocket:
    """A netlink socket of one protocol; a context manager.

    Every method may raise `KernelError` (no answer within `timeout_s`, or the socket failed; it is closed then),
    `MalformedMessage`, and what it says itself.
    """

    def __init__(self, protocol: int = NETLINK_NETFILTER, *, timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise _cannot_open(error, protocol) from None
        try:
            self._socket.bind((0, 0))
            self._socket.settimeout(timeout_s)
            for option in (_CAP_ACK, _EXT_ACK, _STRICT):
                # Since Linux 4.3, 4.12 and 4.20. Without the first two errors have less to say, without the third
                # rtnetlink lists more than was asked for.
                with contextlib.suppress(OSError):
                    self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._acks_at_once = self._make_room_for_acks(_ACKS_AT_ONCE)
        except OSError as error:
            self._socket.close()
            raise _cannot_open(error, protocol) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Its address: what notifications name as the cause of a change (nlmsg_pid)."""
        port: int = self._socket.getsockname()[0]
        return port

    def close(self) -> None:
        """Close the socket; more than once is harmless."""
        self._socket.close()

    def request(self, request: Request) -> list[Message]:
        """Send one request that the kernel answers and acknowledges; return the answer's messages.

        Raises `NetlinkRefused`.
        """
        return list(self._reply(request))

    def dump(self, request: Request) -> Iterator[Message]:
        """Send a dump request and yield the entries as they arrive.

        Raises `NetlinkRefused`, and `DumpInterrupted` *after* the last entry when the list may have holes: what was
        yielded is valid, so the caller may try again, or carry on with it.
        """
        if not request.is_dump:
            raise ValueError(f"{request.operation}: not a dump request")
        yield from self._reply(request)

    def batch(self, requests: Sequence[Request], *, in_one_send: bool = False) -> list[NetlinkRefused | None]:
        """Send requests, many per system call; return per request None (done) or why it was refused.

        Nothing is raised for a refusal: which ones to tolerate is up to the caller (`raise_refusals` for none).
        `in_one_send` is for what the kernel must see at once (an nftables transaction); it needs CAP_NET_ADMIN when
        large. Requests of a refused transaction that are not at fault have the outcome None too.
        """
        size = max(len(requests), 1) if in_one_send else self._acks_at_once
        return self._in_parts(requests, size, last_only=False)

    def bulk(self, requests: Sequence[Request]) -> list[NetlinkRefused | None]:
        """Do what `batch` does, several times faster: only what is refused is answered, and the last of a thousand.

        For tens of thousands of small requests; an acknowledgement costs the kernel as much as adding an address does.
        """
        return self._in_parts(requests, self._acks_at_once, last_only=True)

    def _in_parts(self, requests: Sequence[Request], size: int, *, last_only: bool) -> list[NetlinkRefused | None]:
        outcomes: list[NetlinkRefused | None] = []
        for start in range(0, len(requests), size):
            outcomes += self._acknowledged(requests[start : start + size], last_only=last_only)
        return outcomes

    def _acknowledged(self, requests: Sequence[Request], *, last_only: bool) -> list[NetlinkRefused | None]:
        first = self._sequence + 1
        self._sequence += len(requests)
        last = len(requests) - 1 if last_only else 0
        data = b"".join(request.pack(first + index, ack=index >= last) for index, request in enumerate(requests))
        self._send(data, requests[0].operation, acks=sum(request.ack for request in requests))
        acks = Acks(requests, first, last_only=last_only)
        lost = False
        while not acks.done:
            # The kernel has worked the requests off inside send(), so that what is queued now is all there is when
            # one was refused. In any other case wait: nothing promises that it will always be so.
            datagram = self._receive(requests[0].operation, wait=not (acks.refused or lost))
            if datagram is None:
                break
            if datagram:
                acks.feed(datagram)
            else:
                lost = True
        if lost:
            acks.give_up(errno.ENOBUFS)
        return acks.outcomes()

    def _reply(self, request: Request) -> Iterator[Message]:
        self._sequence += 1
        reply = Reply(request, self._sequence)
        self._send(request.pack(self._sequence), request.operation)
        lost = False
        try:
            while not reply.done:
                datagram = self._receive(request.operation)
                if datagram:
                    yield from reply.feed(datagram)
                else:
                    lost = True
        finally:
            # Given up half-way (an error, or a caller that has seen enough): the kernel would answer the next dump
            # on this socket with EBUSY.
            if not reply.done:
                self.close()
        if lost or reply.interrupted:
            raise DumpInterrupted(f"{request.operation}: the table changed while it was read")

    def _send(self, data: bytes, operation: str, *, acks: int = 0) -> None:
        try:
            self._make_room_for_acks(acks)
            with contextlib.suppress(PermissionError):
                if len(data) > self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2:
                    self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(data))
            self._socket.send(data)
        except OSError as error:
            self.close()
            raise refusal(operation, error.errno or errno.EIO) from None

    def _receive(self, operation: str, *, wait: bool = True) -> bytes | None:
        """Return one datagram; b"" when the kernel had to drop some (ENOBUFS); None: none is there, and not `wait`."""
        # A time-out set on the socket would be waited for in spite of MSG_DONTWAIT.
        self._socket.settimeout(self._timeout_s if wait else 0.0)
        while True:
            try:
                data, _ancillary, flags, sender = self._socket.recvmsg(_DATAGRAM)
            except TimeoutError:
                self.close()
                raise KernelError(f"{operation}: no answer from the kernel within {self._timeout_s:g} s") from None
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return b""
                self.close()
                raise refusal(operation, error.errno or errno.EIO) from None
            if flags & socket.MSG_TRUNC:
                self.close()
                raise MalformedMessage(f"{operation}: an answer is longer than {_DATAGRAM} bytes")
            if sender[0] == 0:  # else from another process, not from the kernel
                return data

    def _make_room_for_acks(self, acks: int) -> int:
        """Enlarge the receive buffer for that many acknowledgements; return for how many there is room."""
        has = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if has < acks * _ACK_ROOM:
            wanted = acks * _ACK_ROOM // 2  # the kernel doubles it
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)  # as much as rmem_max allows
            has = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return max(1, has // _ACK_ROOM)


def raise_refusals(outcomes: Sequence[NetlinkRefused | None], *, tolerate: frozenset[int] = frozenset()) -> None:
    """Raise the first refusal of a batch whose errno is not in `tolerate`."""
    for outcome in outcomes:
        if outcome is not None and outcome.code not in tolerate:
            raise outcome


def _cannot_open(error: OSError, protocol: int) -> KernelError:
    if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return FeatureMissing(
            f"netlink protocol {protocol} is not in this kernel",
            remedy="load the modules nfnetlink and nf_conntrack_netlink",
        )
    return refusal(f"open a netlink socket of protocol {protocol}", error.errno or errno.EIO)
