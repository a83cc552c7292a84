"""The kernel's virtual servers and the addresses of the VIP link, of one family: read, changed, counted.

Sockets live as long as one call: each call may come from another thread, and a socket that failed is of no more use.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kproxy.dataplane.addresses import VIP_LINK, list_addresses
from kproxy.errors import FeatureMissing, KernelError
from kproxy.netlink import genetlink, ipvs, route
from kproxy.netlink.errors import DumpInterrupted, NetlinkRefused
from kproxy.netlink.ipvs import IpvsRequests
from kproxy.netlink.ipvs_listing import read_listing
from kproxy.netlink.socket import NetlinkSocket, raise_refusals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from kproxy.netlink.exchange import Request
    from kproxy.netlink.ipvs import ListedDestination
    from kproxy.netlink.message import Message
    from kproxy.plan.ipvs.server import Destination, Scheduling, VirtualServer
    from kproxy.plan.ipvs.servers import IpvsDifference
    from kproxy.state.addresses import Family

LISTING = Path("/proc/thread-self/net/ip_vs")
"""Of the network namespace of the calling thread."""

_DUMP_ATTEMPTS = 3
_FEW = 50
"""As many virtual servers are asked for one by one before the list of all is read instead."""
_GONE = frozenset({errno.ENOENT, errno.ESRCH})
_NO_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})
_HAS_IT = frozenset({errno.EEXIST})
_UNFIT = frozenset({errno.EINVAL, errno.EADDRNOTAVAIL})
"""An address that can't be an endpoint, or a VIP: of a multicast group, say."""
USE_ANOTHER_MODE = "or use --proxy-mode nftables or iptables"


class Refused(KernelError):
    """The kernel does not take what some Services ask for; `reasons` says why, by virtual server or by address."""

    def __init__(self, reasons: Mapping[VirtualServer | str, str]) -> None:
        self.reasons = reasons
        super().__init__(next(iter(reasons.values())))


class SchedulerMissing(Refused):
    """The kernel lacks the schedulers that some virtual servers want."""


class KernelState(msgspec.Struct, frozen=True):
    """What the kernel holds of one family.

    Virtual servers that are chosen by a packet mark, and destinations that are reached otherwise than by translation,
    are left out: they are nobody's business here.
    """

    servers: dict[VirtualServer, Scheduling]
    destinations: dict[Destination, int]
    addresses: tuple[str, ...]


class IpvsKernel:
    """IPVS of one family; every method raises `KernelError`.

    `message_type` is the netlink family's, see `find_ipvs`.
    """

    def __init__(self, family: Family, message_type: int) -> None:
        self.family = family
        self.requests = IpvsRequests(message_type)

    def read_servers(self) -> dict[VirtualServer, Scheduling]:
        """Return the virtual servers, whoever made them."""
        with NetlinkSocket(genetlink.NETLINK_GENERIC) as netlink:
            return self._servers(netlink)

    def read_addresses(self) -> tuple[str, ...]:
        """Return the addresses of the VIP link; none when there is no such link."""
        with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
            link = find_vip_link(netlink)
            listed = [] if link is None else list_addresses(netlink, self.family, link)
            # The link-local address that an IPv6 link gives itself is not a VIP.
            return tuple(address.ip for address in listed if not address.ip.startswith("fe80:"))

    def delete_servers(self, servers: Iterable[VirtualServer]) -> None:
        """Delete virtual servers with their destinations; those that are gone already are no error."""
        with NetlinkSocket(genetlink.NETLINK_GENERIC) as netlink:
            raise_refusals(netlink.bulk([self.requests.delete_server(server) for server in servers]), tolerate=_GONE)

    def read(self) -> KernelState:
        """Return everything."""
        with NetlinkSocket(genetlink.NETLINK_GENERIC) as netlink:
            servers = self._servers(netlink)
            listed = self._all_destinations(netlink, servers)
        return KernelState(servers, {one.destination: one.weight for one in listed}, self.read_addresses())

    def connections(self, servers: Collection[VirtualServer]) -> dict[Destination, int]:
        """Return the number of connections, open or just closed, of each destination of these virtual servers."""
        with NetlinkSocket(genetlink.NETLINK_GENERIC) as netlink:
            if len(servers) > _FEW:
                listed = self._all_destinations(netlink, servers)
            else:
                listed = [one for server in servers for one in self._destinations(netlink, server)]
            return {one.destination: one.active + one.inactive for one in listed}

    def apply(self, difference: IpvsDifference) -> None:
        """Make the kernel hold a difference. After an error parts of it are done: read back.

        What is new comes before the address that leads to it, and an address goes before what it leads to. Raises
        `Refused`, or `SchedulerMissing`, where it is what a Service asks for.
        """
        requests = self.requests
        new = [requests.add_server(server, how) for server, how in difference.add_servers.items()]
        new += [requests.set_server(server, how) for server, how in difference.set_servers.items()]
        wanting = [*difference.add_servers.items(), *difference.set_servers.items()]
        destinations = [*difference.add_destinations, *difference.set_destinations]
        new += [requests.add_destination(*item) for item in difference.add_destinations.items()]
        new += [requests.set_destination(*item) for item in difference.set_destinations.items()]
        old = [requests.delete_destination(destination) for destination in difference.delete_destinations]
        old += [requests.delete_server(server) for server in difference.delete_servers]
        with NetlinkSocket(genetlink.NETLINK_GENERIC) as netlink:
            outcomes = netlink.bulk(new)
            _raise_missing(wanting, outcomes)
            servers = [server for server, _ in wanting] + [destination.server for destination in destinations]
            _raise_unfit(servers, outcomes)
            if difference.add_addresses or difference.delete_addresses:
                self._apply_addresses(difference.add_addresses, difference.delete_addresses)
            raise_refusals(netlink.bulk(old), tolerate=_GONE)

    def _apply_addresses(self, new: Sequence[str], old: Sequence[str]) -> None:
        with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
            link = vip_link(netlink)
            _raise_unfit(new, netlink.bulk([route.add_address(link, ip) for ip in new]), tolerate=_HAS_IT)
            raise_refusals(netlink.bulk([route.delete_address(link, ip) for ip in old]), tolerate=_NO_ADDRESS)

    def _servers(self, netlink: NetlinkSocket) -> dict[VirtualServer, Scheduling]:
        listed = [ipvs.read_server(message.body) for message in _dump(netlink, self.requests.list_servers())]
        return {one.server: one.scheduling for one in listed if one.server and one.server.family is self.family}

    def _all_destinations(self, netlink: NetlinkSocket, servers: Collection[VirtualServer]) -> list[ListedDestination]:
        """Return the destinations of these virtual servers: from one file, and by a request for what is not in it."""
        try:
            listing = read_listing(LISTING.read_text(encoding="ascii"))
        except OSError:
            listing = {}
        found: list[ListedDestination] = []
        for server in servers:
            listed = listing[server] if server in listing else self._destinations(netlink, server)
            found += [one for one in listed if one.translated]
        return found

    def _destinations(self, netlink: NetlinkSocket, server: VirtualServer) -> Iterator[ListedDestination]:
        for message in _dump(netlink, self.requests.list_destinations(server)):
            listed = ipvs.read_destination(server, message.body)
            if listed.translated:
                yield listed


def find_ipvs() -> int:
    """Return the message type of IPVS. Raises `FeatureMissing` where the kernel has none."""
    with NetlinkSocket(genetlink.NETLINK_GENERIC) as netlink:
        try:
            answer = netlink.request(genetlink.family_request(ipvs.NAME))
        except NetlinkRefused as refused:
            if refused.code != errno.ENOENT:
                raise
            remedy = f"load the module ip_vs, {USE_ANOTHER_MODE}"
            raise FeatureMissing("--proxy-mode ipvs: this kernel has no IPVS", remedy=remedy) from None
    return genetlink.read_family(ipvs.NAME, answer)


def vip_link(netlink: NetlinkSocket) -> int:
    """Return the index of the VIP link, which is made if it is not there; `netlink` is a socket of rtnetlink.

    Raises `FeatureMissing` where the kernel has no dummy links, and `KernelError`.
    """
    found = find_vip_link(netlink)
    if found is not None:
        return found
    try:
        raise_refusals(netlink.batch([route.add_dummy(VIP_LINK)]), tolerate=_HAS_IT)
    except NetlinkRefused as refused:
        if refused.code != errno.EOPNOTSUPP:
            raise
        remedy = f"load the module dummy, {USE_ANOTHER_MODE}"
        raise FeatureMissing("--proxy-mode ipvs: this kernel has no dummy links", remedy=remedy) from None
    return route.read_link(netlink.request(route.find_link(VIP_LINK))[0].body)


def find_vip_link(netlink: NetlinkSocket) -> int | None:
    """Return the index of the VIP link; None when there is none."""
    try:
        return route.read_link(netlink.request(route.find_link(VIP_LINK))[0].body)
    except NetlinkRefused as refused:
        if refused.code != errno.ENODEV:
            raise
        return None


def _raise_missing(
    wanting: Sequence[tuple[VirtualServer, Scheduling]], outcomes: Sequence[NetlinkRefused | None]
) -> None:
    """Raise `SchedulerMissing` if some virtual servers want what the kernel has not."""
    lacking = [it for it, outcome in zip(wanting, outcomes, strict=False) if outcome and outcome.code == errno.ENOENT]
    if lacking:
        words = "this kernel has no IPVS scheduler {0} - load the module ip_vs_{0}"
        raise SchedulerMissing({server: words.format(how.scheduler) for server, how in lacking})


def _raise_unfit(
    asked: Sequence[VirtualServer | str],
    outcomes: Sequence[NetlinkRefused | None],
    *,
    tolerate: frozenset[int] = frozenset(),
) -> None:
    """Raise `Refused` for what the kernel will never take, if there is nothing else that it refused."""
    raise_refusals(outcomes, tolerate=tolerate | _UNFIT)
    unfit = {
        it: outcome.what for it, outcome in zip(asked, outcomes, strict=True) if outcome and outcome.code in _UNFIT
    }
    if unfit:
        raise Refused(unfit)


def _dump(netlink: NetlinkSocket, request: Request) -> list[Message]:
    for attempt in range(_DUMP_ATTEMPTS):
        try:
            return list(netlink.dump(request))
        except DumpInterrupted:
            if attempt + 1 == _DUMP_ATTEMPTS:
                raise
    raise AssertionError("not reached")
