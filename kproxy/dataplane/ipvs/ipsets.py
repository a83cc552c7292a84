"""kube-proxy's ipsets: what they say of its virtual servers, and away with them."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING

from kproxy.errors import KernelError
from kproxy.netlink import ipset
from kproxy.netlink.errors import DumpInterrupted, NetlinkRefused
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.plan.ipvs.kube_proxy import kube_proxy_sets
from kproxy.plan.nftables.packing import PROTOCOL_NUMBERS, pack_port
from kproxy.state.addresses import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kproxy.netlink.exchange import Request
    from kproxy.netlink.message import Message
    from kproxy.state.addresses import Family

_PROTOCOLS = {number: name for name, number in PROTOCOL_NUMBERS.items()}
_OURS = frozenset(name for family in FAMILIES for name in kube_proxy_sets(family).names)
_ATTEMPTS, _PAUSE_S = 40, 0.05


def read_kube_proxy_sets(family: Family) -> tuple[set[bytes], set[bytes]]:
    """Return what kube-proxy's virtual servers serve, as keys of `Ownership`: by address and port, and node ports.

    Raises `KernelError`.
    """
    sets = kube_proxy_sets(family)
    servers: set[bytes] = set()
    node_ports: set[bytes] = set()
    with NetlinkSocket() as netlink:
        for name in _names(netlink):
            if name in sets.node_ports:
                protocol = sets.node_ports[name]
                node_ports |= {pack_port(protocol, member.port) for member in _members(netlink, name)}
            elif name in sets.servers:
                members = [one for one in _members(netlink, name) if one.protocol in _PROTOCOLS]
                servers |= {one.ip + pack_port(_PROTOCOLS[one.protocol], one.port) for one in members}
    return servers, node_ports


def has_kube_proxy_sets() -> bool:
    """Tell whether kube-proxy's IPVS mode was here. Raises `KernelError`."""
    with NetlinkSocket() as netlink:
        return not _OURS.isdisjoint(_names(netlink))


def remove_kube_proxy_sets() -> Iterator[str]:
    """Remove kube-proxy's sets, which no rule may use any more; yield in words what was removed.

    The kernel lets go of deleted rules a moment later, so this may take a second or two. Raises `KernelError`.
    """
    with NetlinkSocket() as netlink:
        left = sorted(_OURS.intersection(_names(netlink)))
        removed = len(left)
        for _attempt in range(_ATTEMPTS):
            left = _remove(netlink, left)
            if not left:
                break
            time.sleep(_PAUSE_S)
    if removed > len(left):
        yield f"{removed - len(left)} ipsets"
    if left:
        raise KernelError(f"rules of somebody else use the ipsets {', '.join(left)}")


def _remove(netlink: NetlinkSocket, names: Sequence[str]) -> list[str]:
    """Remove sets; return those that are in use."""
    outcomes = netlink.batch([ipset.destroy(name) for name in names])
    raise_refusals(outcomes, tolerate=frozenset({errno.ENOENT, ipset.IN_USE}))
    return [name for name, outcome in zip(names, outcomes, strict=True) if outcome and outcome.code == ipset.IN_USE]


def _names(netlink: NetlinkSocket) -> list[str]:
    return [ipset.read_name(message.body) for message in _dump(netlink, ipset.list_names())]


def _members(netlink: NetlinkSocket, name: str) -> Iterator[ipset.Member]:
    for message in _dump(netlink, ipset.list_members(name)):
        yield from ipset.read_members(message.body)


def _dump(netlink: NetlinkSocket, request: Request) -> Iterator[Message]:
    """Yield what is listed, though it may have changed meanwhile: nothing where there is no such set, or no ipset."""
    try:
        with contextlib.suppress(DumpInterrupted):
            yield from netlink.dump(request)
    except NetlinkRefused as refused:
        if refused.code not in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
            raise
