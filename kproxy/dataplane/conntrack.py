"""Deletes stale UDP conntrack entries, after the rules that made them are gone.

What is stale is decided in `kproxy.plan.stale_flows`, and where to look in `kproxy.plan.udp_frontends`; the use of all
three, after each successful sync and per family::

    deleted = conntrack.delete_stale(family, udp.changed(), node_addresses)
    udp.cleaned()
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from kproxy.errors import KernelError
from kproxy.netlink import conntrack
from kproxy.netlink.errors import DumpInterrupted, NetlinkRefused
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.plan.stale_flows import ServingEndpoints, StaleFlowFilter
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kproxy.netlink.exchange import Request

_NOBODYS_PORT = 0
_DUMP_ATTEMPTS = 3
_GONE = frozenset({errno.ENOENT})


def delete_stale(
    family: Family,
    frontends: ServingEndpoints,
    node_addresses: Iterable[str] = (),
    *,
    open_socket: Callable[[], NetlinkSocket] = NetlinkSocket,
) -> int:
    """Delete the UDP flows of `family` to `frontends` that none of the allowed endpoints answers; return how many.

    `frontends` has only that family; `node_addresses` are the canonical addresses on which node ports are served (see
    `StaleFlowFilter`). With nothing to look for, nothing is asked of the kernel. Flows that end by themselves meanwhile
    are not counted. Blocks for about 5 us per UDP flow of the node: call it from a worker thread.

    Raises `KernelError` (a `PermissionMissing` without CAP_NET_ADMIN). Repeating the call with the same arguments
    deletes what is left. A list that the kernel reports as incomplete is fetched again, three times at most; then
    what was seen has to do.
    """
    stale = StaleFlowFilter(frontends, node_addresses)
    if not stale:
        return 0
    with open_socket() as netlink:
        outcomes = netlink.batch(_deletions(netlink, family, stale))
    raise_refusals(outcomes, tolerate=_GONE)
    return outcomes.count(None)


def load(*, open_socket: Callable[[], NetlinkSocket] = NetlinkSocket) -> None:
    """Have the kernel load connection tracking where that is a module: it does so when it is asked for flows.

    What may be missing all the same is for the caller to see.
    """
    with contextlib.suppress(KernelError), open_socket() as netlink:
        for _ in netlink.dump(conntrack.dump_request(Family.IPV4, _NOBODYS_PORT)):
            pass


def _deletions(netlink: NetlinkSocket, family: Family, stale: StaleFlowFilter) -> list[Request]:
    # Keyed by what the request says, which is the same for an entry listed twice.
    found: dict[bytes, Request] = {}
    for _attempt in range(_DUMP_ATTEMPTS):
        try:
            _find(netlink, family, stale, found)
        except DumpInterrupted:
            continue
        break
    return list(found.values())


def _find(netlink: NetlinkSocket, family: Family, stale: StaleFlowFilter, found: dict[bytes, Request]) -> None:
    """Add the deletions of all stale flows to `found`. Raises `DumpInterrupted` when some may be missing."""
    try:
        _list(netlink, conntrack.dump_request(family, stale.common_port), stale, found)
    except NetlinkRefused as refused:
        if refused.code not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        # A kernel that knows filters, but not this one: take the whole table, we look at each entry anyway.
        _list(netlink, conntrack.unfiltered_dump_request(family), stale, found)


def _list(netlink: NetlinkSocket, request: Request, stale: StaleFlowFilter, found: dict[bytes, Request]) -> None:
    for message in netlink.dump(request):
        if message.type != conntrack.ENTRY:
            continue
        flow = conntrack.read_flow(message.body)
        if flow is not None and stale.is_stale(flow):
            deletion = conntrack.delete_request(flow)
            found[deletion.body] = deletion
