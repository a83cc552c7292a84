"""Finds out, before anything of a Service is written, whether this kernel can do what IPVS mode needs.

Each thing is tried with a real virtual server, on an address that is nobody's (RFC 5737, RFC 3849), and taken away.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from kproxy.dataplane.ipvs.kernel import USE_ANOTHER_MODE, find_ipvs, vip_link
from kproxy.errors import FeatureMissing
from kproxy.netlink.genetlink import NETLINK_GENERIC
from kproxy.netlink.ipvs import IpvsRequests
from kproxy.netlink.route import NETLINK_ROUTE
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.ipvs.server import Scheduling, VirtualServer
from kproxy.state.service import IPVS_SCHEDULERS

if TYPE_CHECKING:
    from kproxy.netlink.errors import NetlinkRefused

_IPV4, _IPV6, _PORT = "198.51.100.0", "2001:db8::", 20000
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class Probed(NamedTuple):
    """What was found: IPVS's message type, whether it does IPv6, and what it lacks that can be done without."""

    message_type: int
    ipv6: bool
    unsupported: dict[str, str]


def probe(scheduler: str) -> Probed:
    """Try everything. Raises `FeatureMissing`, naming the module, and `PermissionMissing`."""
    message_type = find_ipvs()
    requests = IpvsRequests(message_type)
    with NetlinkSocket(NETLINK_GENERIC) as netlink:
        refused = _try(netlink, requests, VirtualServer(_IPV4, "TCP", _PORT), scheduler)
        if refused is not None:
            raise _explained(netlink, requests, scheduler, refused)
        ipv6 = _try(netlink, requests, VirtualServer(_IPV6, "TCP", _PORT), scheduler) is None
        unsupported = {}
        for protocol in ("UDP", "SCTP"):
            if _try(netlink, requests, VirtualServer(_IPV4, protocol, _PORT), scheduler) is not None:
                unsupported[protocol] = f"IPVS of this kernel has no {protocol}"
    with NetlinkSocket(NETLINK_ROUTE) as netlink:
        vip_link(netlink)
    return Probed(message_type, ipv6, unsupported)


def _try(
    netlink: NetlinkSocket, requests: IpvsRequests, server: VirtualServer, scheduler: str
) -> NetlinkRefused | None:
    outcome = netlink.batch([requests.add_server(server, Scheduling(scheduler))])[0]
    if outcome is None or outcome.code == errno.EEXIST:
        # There from a probe that was cut short, if not made just now.
        netlink.batch([requests.delete_server(server)])
        return None
    return outcome


def _explained(
    netlink: NetlinkSocket, requests: IpvsRequests, scheduler: str, refused: NetlinkRefused
) -> FeatureMissing | NetlinkRefused:
    if refused.code in _NO_SUCH_FAMILY:
        return FeatureMissing(
            "--proxy-mode ipvs: IPVS of this kernel has no TCP", remedy=f"build it in, {USE_ANOTHER_MODE}"
        )
    if refused.code != errno.ENOENT:
        return refused
    server = VirtualServer(_IPV4, "TCP", _PORT)
    known = [name for name in IPVS_SCHEDULERS if _try(netlink, requests, server, name) is None]
    there = f", or use one that it has: {', '.join(known)}" if known else f", {USE_ANOTHER_MODE}"
    return FeatureMissing(
        f"--ipvs-scheduler: this kernel has no IPVS scheduler {scheduler}",
        remedy=f"load the module ip_vs_{scheduler}{there}",
    )
