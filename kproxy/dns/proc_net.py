"""Reads /proc/net/udp and its like: who has a port. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

_LISTEN = "0A"
"""TCP_LISTEN; a UDP socket that is bound and not connected has 07."""
_UNCONNECTED = "07"


class Bound(NamedTuple):
    """A socket that takes what comes to a port: its address, and the inode by which its process is found."""

    address: IPv4Address | IPv6Address
    port: int
    inode: str

    def meets(self, host: str) -> bool:
        """Tell whether the socket would get what is sent to an address (itself, or "" and 0.0.0.0 for all)."""
        wanted = ip_address(host)
        if self.address.is_unspecified or wanted.is_unspecified:
            return self.address.version == wanted.version or self.address.version == 6
        return self.address == wanted


def read_bound(text: str) -> list[Bound]:
    """Return the sockets in the text of /proc/net/{udp,udp6,tcp,tcp6}."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9 and words[3] in (_LISTEN, _UNCONNECTED):
            address, _, port = words[1].partition(":")
            found.append(Bound(_address(address), int(port, 16), words[9]))
    return found


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return an address that is written as 32-bit words in the byte order of the machine (little endian here)."""
    words = [int.from_bytes(bytes.fromhex(text[at : at + 8]), "little") for at in range(0, len(text), 8)]
    packed = b"".join(word.to_bytes(4) for word in words)
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
