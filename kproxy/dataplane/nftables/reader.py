"""Reads a table back from the kernel."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from kproxy.errors import KernelError
from kproxy.netlink.errors import DumpInterrupted, NetlinkRefused
from kproxy.netlink.nftables.elements import CATCH_ALL
from kproxy.netlink.nftables.listing import (
    TableListing,
    elements_request,
    generation_request,
    read_counters,
    read_elements,
    read_generation,
)
from kproxy.plan.nftables.model import FAMILY_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.netlink.exchange import Request
    from kproxy.netlink.message import Message
    from kproxy.netlink.socket import NetlinkSocket
    from kproxy.plan.nftables.model import SetSpec, Snapshot
    from kproxy.state.addresses import Family

_ATTEMPTS = 10


def current_generation(socket: NetlinkSocket) -> int:
    """Return the generation of nftables, which every transaction of anybody raises by one. Raises `KernelError`."""
    return read_generation(socket.request(generation_request()))


def read_table(socket: NetlinkSocket, family: Family, name: str, *, elements: bool = True) -> Snapshot | None:
    """Return the table as it is, everything in it from one generation; None when there is none.

    Without `elements` that takes a millisecond or two, whatever the number of Services.
    Read again when somebody changes nftables meanwhile, whichever table; after ten times `KernelError` is raised.
    Raises `KernelError` too where the kernel refuses.
    """
    for _ in range(_ATTEMPTS):
        generation = current_generation(socket)
        try:
            listing = _list_table(socket, family, name, elements=elements)
        except DumpInterrupted:
            continue
        if current_generation(socket) == generation:
            return None if listing is None else listing.snapshot(generation)
    raise KernelError(
        f"read table {FAMILY_WORDS[family]} {name}: something changes nftables all the time",
        remedy="look with `nft monitor` for what it is",
    )


def _list_table(socket: NetlinkSocket, family: Family, name: str, *, elements: bool) -> TableListing | None:
    listing = TableListing(family, name)
    try:
        for message in socket.request(listing.table_request()):
            listing.feed(message)
        for request in listing.object_requests():
            for message in socket.dump(request):
                listing.feed(message)
        for spec, request in listing.element_requests() if elements else ():
            listing.feed_elements(spec, socket.dump(request))
    except NetlinkRefused as refusal:
        if refusal.code != errno.ENOENT:
            raise
        return None  # also when it goes while it is read
    return listing


def read_set(socket: NetlinkSocket, family: Family, table: str, spec: SetSpec) -> dict[bytes, bytes]:
    """Return the elements of one set, as `kproxy.plan.nftables.model` says; also those of a dynamic one.

    For sets that change all the time: an element that comes or goes meanwhile may be missing. Raises `KernelError`.
    """
    request = elements_request(family, table, spec)
    try:
        found = read_elements(spec, socket.dump(request))
    except DumpInterrupted:
        found = read_elements(spec, _patiently(socket, request))
    found.pop(CATCH_ALL, None)
    return found


def read_counted(socket: NetlinkSocket, family: Family, table: str, spec: SetSpec) -> dict[bytes, tuple[bytes, int]]:
    """Return, by key, value and packets of the elements of a set that counts; none where there is no such set.

    An element that comes or goes meanwhile may be missing. Raises `KernelError`.
    """
    try:
        messages = list(_patiently(socket, elements_request(family, table, spec)))
    except NetlinkRefused as refusal:
        if refusal.code == errno.ENOENT:
            return {}
        raise
    values, counters = read_elements(spec, messages), read_counters(spec, messages)
    values.pop(CATCH_ALL, None)
    return {key: (value, counters.get(key, (0, 0))[0]) for key, value in values.items()}


def _patiently(socket: NetlinkSocket, request: Request) -> Iterator[Message]:
    """Yield what is listed, though it may have changed meanwhile."""
    with contextlib.suppress(DumpInterrupted):
        yield from socket.dump(request)
