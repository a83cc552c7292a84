"""Addresses, ports and protocols as the bytes that stand in keys and values of elements.

Everything is packed as the kernel compares it: each field in network order, padded to a multiple of 4 bytes; only
slots are in the host's order, because that is how `numgen` makes them.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

from kproxy.plan.nftables.model import IP6_DADDR, IP6_SADDR, IP_DADDR, IP_SADDR
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.plan.nftables.model import Field
    from kproxy.state.endpoints import Endpoint

PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}

LOCAL_SLOTS = 65536
"""The list of local endpoints begins at this slot, the cluster-wide list at 0."""

_PORT = struct.Struct("!H2x")
_PROTOCOL_AND_PORT = struct.Struct("!B3xH2x")
_WORD = struct.Struct("=I")
SLOT_LENGTH = _WORD.size


def source_field(family: Family) -> Field:
    """Return `ip saddr` or `ip6 saddr`."""
    return IP_SADDR if family is Family.IPV4 else IP6_SADDR


def destination_field(family: Family) -> Field:
    """Return `ip daddr` or `ip6 daddr`."""
    return IP_DADDR if family is Family.IPV4 else IP6_DADDR


def pack_ip(ip: str) -> bytes:
    """Return a canonical address as 4 or 16 bytes."""
    if ":" in ip:
        return ipaddress.IPv6Address(ip).packed
    # The address is canonical already; checking it again would double the time of a full plan.
    first, second, third, fourth = ip.split(".")
    return bytes((int(first), int(second), int(third), int(fourth)))


def pack_backend(ip: str, port: int) -> bytes:
    """Return `ip daddr . th dport`: an endpoint, as the value of an element."""
    return pack_ip(ip) + _PORT.pack(port)


def pack_backends(endpoints: Sequence[Endpoint]) -> list[bytes]:
    """Return `ip daddr . th dport` for each of many endpoints of one family."""
    if not endpoints or ":" in endpoints[0].ip:
        return [pack_backend(endpoint.ip, endpoint.port) for endpoint in endpoints]
    # All addresses at once: one by one it would be half of the time of a full plan.
    packed = bytes(map(int, ".".join([endpoint.ip for endpoint in endpoints]).split(".")))
    ports = {endpoint.port for endpoint in endpoints}
    if len(ports) == 1:
        port = _PORT.pack(*ports)
        return [packed[start : start + 4] + port for start in range(0, len(packed), 4)]
    return [packed[4 * at : 4 * at + 4] + _PORT.pack(endpoint.port) for at, endpoint in enumerate(endpoints)]


def pack_port(protocol: str, port: int) -> bytes:
    """Return `meta l4proto . th dport`: a node port, as a key."""
    return _PROTOCOL_AND_PORT.pack(PROTOCOL_NUMBERS[protocol], port)


def pack_frontend(ip: str, protocol: str, port: int) -> bytes:
    """Return `ip daddr . meta l4proto . th dport`; of a node port (`ip` empty) the last two."""
    return (pack_ip(ip) if ip else b"") + pack_port(protocol, port)


def pack_word(number: int) -> bytes:
    """Return a number in the host's order: a mark, a state of a connection, a type of address."""
    return _WORD.pack(number)


def unpack_word(packed: bytes) -> int:
    """Return the number that 4 bytes in the host's order are."""
    return int(_WORD.unpack(packed)[0])


def pack_slot(number: int) -> bytes:
    """Return a slot, the last field of an endpoint's key."""
    return _WORD.pack(number)


def unpack_slot(key: bytes) -> tuple[bytes, int]:
    """Split an endpoint's key into its frontend and its slot."""
    return key[:-SLOT_LENGTH], unpack_word(key[-SLOT_LENGTH:])


def pack_interval(prefix: bytes, cidr: str) -> bytes:
    """Return the interval of all `prefix . address` with an address in `cidr`: first and last key, joined."""
    network = ipaddress.ip_network(cidr)
    return prefix + network.network_address.packed + prefix + network.broadcast_address.packed


def unpack_ip(packed: bytes) -> str:
    """Return the canonical text of an address."""
    return str(ipaddress.ip_address(packed))
