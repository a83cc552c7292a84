"""Who answers what: requests out, datagrams in, outcomes. No socket in here; `socket.py` moves the bytes.

Three kinds of exchange exist in netlink, and every protocol on it (nfnetlink, generic netlink, rtnetlink) uses them:

* a request that is acknowledged, several of them in one send (`Acks`);
* a request that is answered with messages and then acknowledged (`Reply`);
* a dump: messages until NLMSG_DONE, never acknowledged (`Reply` again; the request's flags tell).

An answer belongs to a request by its sequence number; anything else (late answers of an exchange that was given up)
is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink.errors import NetlinkRefused, refusal
from kproxy.netlink.message import (
    DONE,
    ERROR,
    F_ACK,
    F_DUMP,
    F_DUMP_INTR,
    F_REQUEST,
    NOOP,
    OVERRUN,
    Message,
    pack_message,
    read_ack,
    split_messages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Request(msgspec.Struct, frozen=True, gc=False):
    """One message to the kernel.

    `operation` names it for error texts ("add table ip kproxy"). `flags` are those beyond NLM_F_REQUEST and NLM_F_ACK.
    `ack=False` is for messages that the kernel does not acknowledge (the begin and end of an nftables batch).
    """

    operation: str
    type: int
    body: bytes
    flags: int = 0
    ack: bool = True

    @property
    def is_dump(self) -> bool:
        """Asks for a list, which ends with NLMSG_DONE and is never acknowledged."""
        return self.flags & F_DUMP == F_DUMP

    def pack(self, sequence: int, *, ack: bool = True) -> bytes:
        """Return the bytes, with that sequence number; `ack` False: the kernel is to answer only when it refuses."""
        flags = F_REQUEST | self.flags | (F_ACK if ack and self.ack and not self.is_dump else 0)
        return pack_message(self.type, flags, sequence, self.body)


class Acks:
    """Collects the acknowledgements of requests with consecutive sequence numbers, the first being `first`.

    `last_only`: only the last one is acknowledged. What was refused before it has been answered by then, as the kernel
    works requests off in order.
    """

    def __init__(self, requests: Sequence[Request], first: int, *, last_only: bool = False) -> None:
        self._requests = requests
        self._first = first
        every = range(len(requests) - 1 if last_only else 0, len(requests))
        self._open = {index for index in every if requests[index].ack}
        self._refusals: dict[int, NetlinkRefused] = {}

    @property
    def done(self) -> bool:
        """Every request that asked for it has been acknowledged or refused."""
        return not self._open

    @property
    def refused(self) -> bool:
        """At least one request has been refused. A batch that is a transaction may leave the others without answer."""
        return bool(self._refusals)

    def feed(self, datagram: bytes) -> None:
        """Take what was received. Raises `MalformedMessage`."""
        for message in split_messages(datagram):
            index = message.sequence - self._first
            if message.type != ERROR or not 0 <= index < len(self._requests):
                continue
            ack = read_ack(message)
            self._open.discard(index)
            # The kernel may report a request twice (once checked, once committed): the first reason is the cause.
            if ack.code and index not in self._refusals:
                self._refusals[index] = refusal(self._requests[index].operation, ack.code, ack.detail)

    def give_up(self, code: int) -> None:
        """Count every request without answer as refused with errno `code`."""
        for index in sorted(self._open):
            self._refusals.setdefault(index, refusal(self._requests[index].operation, code))
        self._open.clear()

    def outcomes(self) -> list[NetlinkRefused | None]:
        """Return one entry per request, in order: None (done, or not answered), or why it was refused."""
        return [self._refusals.get(index) for index in range(len(self._requests))]


class Reply:
    """Collects the answer to one request, message by message."""

    def __init__(self, request: Request, sequence: int) -> None:
        self._operation = request.operation
        self._sequence = sequence
        self._dump = request.is_dump
        self.done = False
        self.interrupted = False

    def feed(self, datagram: bytes) -> Iterator[Message]:
        """Yield the messages that belong to the answer.

        Raises `MalformedMessage`, and `NetlinkRefused` when the kernel ended the exchange with an error.
        """
        for message in split_messages(datagram):
            if message.sequence != self._sequence or self.done:
                continue
            if message.flags & F_DUMP_INTR and self._dump:
                self.interrupted = True
            if message.type in (ERROR, DONE):
                self._end(message)
            elif message.type == OVERRUN:
                self.interrupted = True
            elif message.type != NOOP:
                yield message

    def _end(self, message: Message) -> None:
        ack = read_ack(message)
        # A dump ends with DONE; an acknowledgement besides would not end it.
        self.done = bool(ack.code) or not self._dump or message.type == DONE
        if ack.code:
            raise refusal(self._operation, ack.code, ack.detail)
