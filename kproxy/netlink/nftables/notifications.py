"""What others do to our tables: the kernel's notifications in, foreign transactions out.

Every commit is told as one message for each thing that it made or deleted, then one with the new generation and who it
was (multicast group NFNLGRP_NFTABLES; `nft monitor`). What rules do, such as entering an element of a dynamic map, is
told to nobody. Each message carries the port of the netlink socket that caused it: by that we know our own.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink import nfnetlink
from kproxy.netlink.message import attribute_map, split_messages
from kproxy.netlink.nftables import objects, wire
from kproxy.netlink.nftables.elements import keys_of
from kproxy.plan.nftables.text import render_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kproxy.netlink.message import Message
    from kproxy.plan.nftables.model import SetSpec
    from kproxy.state.addresses import Family

GROUP = 7
"""NFNLGRP_NFTABLES."""

MAX_KEYS = 3
"""So many elements of a set are remembered by key; all are counted."""

MAX_TOLD = 4
"""So many changes of one transaction are put into words."""

_PROCESS_ID, _PROCESS_NAME = 2, 3  # NFTA_GEN_*
_ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_INSTRUCTION, _HOST_U32 = struct.Struct("=HBBI"), struct.Struct("=I")
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PORT_OFFSET = 12  # of nlmsg_pid in struct nlmsghdr

_HANDLED = {
    wire.NEW_TABLE: ("added", "table"),
    wire.DELETE_TABLE: ("deleted", "table"),
    wire.NEW_CHAIN: ("added", "chain"),
    wire.DELETE_CHAIN: ("deleted", "chain"),
    wire.NEW_RULE: ("added", "rules"),
    wire.DELETE_RULE: ("deleted", "rules"),
    wire.NEW_SET: ("added", "set"),
    wire.DELETE_SET: ("deleted", "set"),
    wire.NEW_ELEMENT: ("added", "elements"),
    wire.DELETE_ELEMENT: ("deleted", "elements"),
}


class Change(msgspec.Struct):
    """What a transaction did of one kind to one chain or set (`name`; of a table it is empty).

    `keys` are some of the elements, as they stand in the message: padded, an interval without its end.
    """

    verb: str
    what: str
    name: str
    count: int = 0
    keys: list[bytes] = []


class ForeignTransaction(msgspec.Struct, frozen=True):
    """What somebody else did to one of our tables. `process` and `pid` are "" and 0 where the kernel did not tell."""

    family: Family
    changes: tuple[Change, ...]
    process: str
    pid: int


class ForeignChanges:
    """Finds what concerns our tables, one name in every family, in a stream of notifications."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._pending: dict[Family, dict[tuple[str, str, str], Change]] = {}

    def feed(self, datagram: bytes, own_ports: Collection[int] = ()) -> Iterator[ForeignTransaction]:
        """Yield what a datagram completes. `own_ports`: the sockets whose transactions are ours.

        Raises `MalformedMessage`.
        """
        for message in split_messages(datagram):
            if message.port in own_ports:
                continue
            if message.type == wire.NEW_GENERATION:
                yield from self._finish(message)
            elif message.type in _HANDLED:
                self._note(message)

    def reset(self) -> None:
        """Forget a transaction of which only a part arrived."""
        self._pending.clear()

    def _note(self, message: Message) -> None:
        family = nfnetlink.family_of(message.body)
        if family is None:
            return
        found = attribute_map(message.body, nfnetlink.HEADER_LENGTH)
        if wire.read_name(found.get(objects.TABLE_NAME, b"")) != self._table:
            return
        verb, what = _HANDLED[message.type]
        name = _name_of(what, found)
        changes = self._pending.setdefault(family, {})
        change = changes.setdefault((verb, what, name), Change(verb, what, name))
        if what != "elements":
            change.count += 1
            return
        for key in keys_of(found.get(_ELEMENTS, b"")):
            change.count += 1
            if len(change.keys) < MAX_KEYS:
                change.keys.append(key)

    def _finish(self, message: Message) -> Iterator[ForeignTransaction]:
        found = attribute_map(message.body, nfnetlink.HEADER_LENGTH)
        process = wire.read_name(found.get(_PROCESS_NAME, b""))
        pid = wire.read_u32(found[_PROCESS_ID]) if _PROCESS_ID in found else 0
        pending, self._pending = self._pending, {}
        for family, changes in pending.items():
            yield ForeignTransaction(family, tuple(changes.values()), process, pid)


def describe(transaction: ForeignTransaction, specs: Mapping[str, SetSpec]) -> str:
    """Say in one line who did what; keys of the sets in `specs` in nft's words."""
    who = f"{transaction.process} (pid {transaction.pid})" if transaction.process else "another program"
    changes = transaction.changes
    if any((change.verb, change.what) == ("deleted", "table") for change in changes):
        return f"{who} deleted the table"
    told = ", ".join(_describe_change(change, specs) for change in changes[:MAX_TOLD])
    rest = len(changes) - MAX_TOLD
    return f"{who} {told}" + (f", and changed {rest} other things" if rest > 0 else "")


def _describe_change(change: Change, specs: Mapping[str, SetSpec]) -> str:
    if change.what == "rules":
        return f"{change.verb} {change.count} rules of chain {change.name}"
    if change.what != "elements":
        return f"{change.verb} {change.what} {change.name}".rstrip()
    spec = specs.get(change.name)
    keys = [render_key(spec, key) for key in change.keys if len(key) == spec.key_length] if spec else []
    if len(keys) < change.count:
        keys.append("...")
    return f"{change.verb} {change.count} elements of {change.name} ({', '.join(keys)})"


def filter_program(own_ports: Collection[int]) -> bytes:
    """Return a classic BPF program for the socket that listens, so that our own transactions don't wake it.

    A datagram holds messages of one transaction only, so its first header tells (struct sock_filter,
    linux/filter.h)::

        ld [12]                  nlmsg_pid, which stands in the host's byte order but is loaded as big endian
        jeq #PORT, drop          for each of them
        ret #0xffffffff
        drop: ret #0
    """
    program = [_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _PORT_OFFSET)]
    for left, port in zip(range(len(own_ports), 0, -1), own_ports, strict=True):
        as_loaded = int.from_bytes(_HOST_U32.pack(port))
        program.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, left, 0, as_loaded))
    return b"".join([*program, _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFFFFFF), _INSTRUCTION.pack(_RETURN, 0, 0, 0)])


def _name_of(what: str, found: dict[int, bytes]) -> str:
    kinds = {"chain": objects.CHAIN_NAME, "rules": objects.RULE_CHAIN, "set": objects.SET_NAME}
    kinds["elements"] = objects.SET_NAME
    return wire.read_name(found.get(kinds[what], b"")) if what in kinds else ""
