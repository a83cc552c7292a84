"""All destinations in one go: the kernel's /proc/net/ip_vs. Over netlink they are one request per virtual server.

Ten thousand virtual servers are read in a tenth of the time. What is in it (addresses and ports in hexadecimal)::

    IP Virtual Server version 1.2.1 (size=4096)
    Prot LocalAddress:Port Scheduler Flags
      -> RemoteAddress:Port Forward Weight ActiveConn InActConn
    TCP  0A60000A:0050 rr
      -> 0AF4010B:1F90      Masq    1      2          3
    UDP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0035 wlc persistent 10800 80000000
      -> [fd00:0010:0244:0000:0000:0000:0000:000b]:0035      Masq    0      0          0
    FWM  00000007 rr

It says less of a virtual server than netlink does. And virtual servers may be missing, or stand in it twice: when they
change while it is read, and (a fault of Linux, at least up to 6.12) when other network namespaces have some too, since
the kernel finds its place again in the middle by counting, once with those and once without. What is there of a virtual
server is whole.
"""

from __future__ import annotations

import ipaddress

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.ipvs import ListedDestination
from kproxy.plan.ipvs.server import Destination, VirtualServer

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TRANSLATED = "Masq"
_HEAD = 3


def read_listing(text: str) -> dict[VirtualServer, tuple[ListedDestination, ...]]:
    """Return the destinations by virtual server, those by packet mark left out. Raises `MalformedMessage`.

    What is not in the text, the number of persistent connections, is 0.
    """
    found: dict[VirtualServer, list[ListedDestination]] = {}
    server: VirtualServer | None = None
    for line in text.splitlines()[_HEAD:]:
        words = line.split()
        try:
            if words[0] != "->":
                server = VirtualServer(_ip(words[1]), words[0], _port(words[1])) if words[0] in _PROTOCOLS else None
                if server is not None:
                    found[server] = []
            elif server is not None:
                found[server].append(_destination(server, words))
        except (ValueError, IndexError):
            raise MalformedMessage(f"/proc/net/ip_vs: a line that can't be read: {line[:80]!r}") from None
    return {server: tuple(destinations) for server, destinations in found.items()}


def _destination(server: VirtualServer, words: list[str]) -> ListedDestination:
    place = words[1]
    return ListedDestination(
        Destination(server, _ip(place), _port(place)),
        weight=int(words[3]),
        active=int(words[4]),
        inactive=int(words[5]),
        persistent=0,
        translated=words[2] == _TRANSLATED,
    )


def _ip(place: str) -> str:
    address = place[:-5]
    if address.startswith("["):
        return str(ipaddress.IPv6Address(address[1:-1]))
    first, second, third, fourth = bytes.fromhex(address)
    return f"{first}.{second}.{third}.{fourth}"


def _port(place: str) -> int:
    if place[-5] != ":":
        raise ValueError(place)
    return int(place[-4:], 16)
