"""IPVS over generic netlink: virtual servers, destinations, time-outs. Pure: no socket.

Layouts: the kernel's include/uapi/linux/ip_vs.h. Ports and IPv4 netmasks are big endian, everything else is in host
order. Addresses take 16 bytes in both families. A virtual server is named by address family, protocol, address, port::

    IPVS_CMD_ATTR_SERVICE { IPVS_SVC_ATTR_AF, _PROTOCOL, _ADDR, _PORT }

and each request about a destination repeats that before what it says of the destination. There is no request that
flushes: what is not ours is never touched, and one wrong message must not be able to.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

import msgspec

from kproxy.netlink import genetlink
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import F_DUMP, attribute, attribute_map, nested
from kproxy.plan.ipvs.server import Destination, Scheduling, VirtualServer
from kproxy.state.addresses import Family, packed

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "IPVS"
"""The family's name, for `genetlink.family_request`."""

_NEW_SERVICE, _SET_SERVICE, _DELETE_SERVICE, _GET_SERVICE = 1, 2, 3, 4  # IPVS_CMD_*
_NEW_DESTINATION, _SET_DESTINATION, _DELETE_DESTINATION, _GET_DESTINATION = 5, 6, 7, 8
_SET_CONFIG, _GET_CONFIG = 12, 13

_SERVICE, _DESTINATION = 1, 2  # IPVS_CMD_ATTR_*
_TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP = 4, 5, 6
_AF, _PROTOCOL, _ADDRESS, _PORT, _MARK = 1, 2, 3, 4, 5  # IPVS_SVC_ATTR_*
_SCHEDULER, _FLAGS, _TIMEOUT, _NETMASK = 6, 7, 8, 9
_D_ADDRESS, _D_PORT, _D_METHOD, _D_WEIGHT, _D_UPPER, _D_LOWER = 1, 2, 3, 4, 5, 6  # IPVS_DEST_ATTR_*
_D_ACTIVE, _D_INACTIVE, _D_PERSISTENT, _D_FAMILY = 7, 8, 9, 11

_MASQUERADE = 0  # IP_VS_CONN_F_MASQ: the destination's address is translated
_METHOD_MASK = 0x07
_HASHED = 0x02  # IP_VS_SVC_F_HASHED: the kernel's own note
_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PROTOCOLS = {number: name for name, number in _NUMBERS.items()}
_AF_OF = {Family.IPV4: 2, Family.IPV6: 10}
_FAMILIES = {number: family for family, number in _AF_OF.items()}
_MAX_SCHEDULER = 15

_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_BE16 = struct.Struct("!H")
_BE32 = struct.Struct("!I")
_TWO_U32 = struct.Struct("=II")
# Four attributes in one go: their headers and values, padded to 4 bytes.
_IDENTITY = struct.Struct("=HHH2x HHH2x HH16s HH2s2x")
# What is said of a destination, in the order of ipvsadm: address, port, method, weight, thresholds, family.
_TARGET = struct.Struct("=HH16s HH2s2x HHI HHI HHI HHI HHH2x")


class ListedServer(msgspec.Struct, frozen=True, gc=False):
    """A virtual server as the kernel lists it; `server` is None for one that is chosen by a packet mark."""

    server: VirtualServer | None
    scheduling: Scheduling


class ListedDestination(msgspec.Struct, frozen=True, gc=False):
    """A destination as the kernel lists it. `translated`: by masquerading, as kproxy's are, not by tunnel or route."""

    destination: Destination
    weight: int
    active: int
    inactive: int
    persistent: int
    translated: bool = True


class Timeouts(msgspec.Struct, frozen=True, gc=False):
    """How long idle connections are remembered, in seconds. In a request 0 leaves the kernel's value alone."""

    tcp_s: int = 0
    tcp_fin_s: int = 0
    udp_s: int = 0


class IpvsRequests:
    """Makes requests for a kernel whose message type for IPVS is `message_type` (see `genetlink.family_request`)."""

    def __init__(self, message_type: int) -> None:
        self._type = message_type
        self._named: tuple[VirtualServer, bytes] | None = None

    def add_server(self, server: VirtualServer, scheduling: Scheduling) -> Request:
        """Return the request to add a virtual server; EEXIST: it is there, ENOENT: the kernel lacks the scheduler.

        Equivalent: `ipvsadm -A -t 10.96.0.10:80 -s rr`, with persistence `ipvsadm -A -t 10.96.0.10:80 -s rr -p 10800`.
        """
        return self._request(f"add virtual server {server}", _NEW_SERVICE, _whole_server(server, scheduling))

    def set_server(self, server: VirtualServer, scheduling: Scheduling) -> Request:
        """Return the request to change how a virtual server chooses.

        Equivalent: `ipvsadm -E -t 10.96.0.10:80 -s mh`.
        """
        return self._request(f"change virtual server {server}", _SET_SERVICE, _whole_server(server, scheduling))

    def delete_server(self, server: VirtualServer) -> Request:
        """Return the request to delete a virtual server and its destinations. ESRCH: it is gone.

        Equivalent: `ipvsadm -D -t 10.96.0.10:80`.
        """
        return self._request(f"delete virtual server {server}", _DELETE_SERVICE, self._name(server))

    def list_servers(self) -> Request:
        """Return the dump request for all virtual servers of both families.

        Equivalent: the lines with `-A` of `ipvsadm -Sn`.
        """
        return self._request("list virtual servers", _GET_SERVICE, b"", F_DUMP)

    def add_destination(self, destination: Destination, weight: int = 1) -> Request:
        """Return the request to add a destination; EEXIST: it is there, ESRCH: its virtual server is not.

        Equivalent: `ipvsadm -a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1`.
        """
        body = self._name(destination.server) + _target(destination, weight)
        return self._request(f"add {destination}", _NEW_DESTINATION, body)

    def set_destination(self, destination: Destination, weight: int) -> Request:
        """Return the request to change a destination's weight. Weight 0 keeps its connections and gives it no new ones.

        Equivalent: `ipvsadm -e -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 0`.
        """
        body = self._name(destination.server) + _target(destination, weight)
        return self._request(f"set the weight of {destination} to {weight}", _SET_DESTINATION, body)

    def delete_destination(self, destination: Destination) -> Request:
        """Return the request to delete a destination, connections and all. ENOENT: it is gone, ESRCH: its server is.

        Equivalent: `ipvsadm -d -t 10.96.0.10:80 -r 10.244.1.11:8080`.
        """
        body = self._name(destination.server) + _target(destination, 0)
        return self._request(f"delete {destination}", _DELETE_DESTINATION, body)

    def list_destinations(self, server: VirtualServer) -> Request:
        """Return the dump request for the destinations of a virtual server; an unknown one has none.

        Equivalent: `ipvsadm -Ln -t 10.96.0.10:80`.
        """
        return self._request(f"list the destinations of {server}", _GET_DESTINATION, self._name(server), F_DUMP)

    def set_timeouts(self, timeouts: Timeouts) -> Request:
        """Return the request to set the time-outs of idle connections. Equivalent: `ipvsadm --set 900 120 300`."""
        values = (
            (_TIMEOUT_TCP, timeouts.tcp_s),
            (_TIMEOUT_TCP_FIN, timeouts.tcp_fin_s),
            (_TIMEOUT_UDP, timeouts.udp_s),
        )
        body = b"".join(attribute(kind, _U32.pack(seconds)) for kind, seconds in values)
        return self._request("set the IPVS time-outs", _SET_CONFIG, body)

    def get_timeouts(self) -> Request:
        """Return the request for the time-outs. Equivalent: `ipvsadm -L --timeout`."""
        return self._request("get the IPVS time-outs", _GET_CONFIG, b"")

    def _request(self, operation: str, command: int, body: bytes, flags: int = 0) -> Request:
        return Request(operation, self._type, genetlink.header(command) + body, flags)

    def _name(self, server: VirtualServer) -> bytes:
        # Requests about one server's destinations follow each other.
        if self._named is None or self._named[0] != server:
            self._named = (server, nested(_SERVICE, _identity(server)))
        return self._named[1]


def read_server(body: bytes) -> ListedServer:
    """Decode one message of the answer to `list_servers`. Raises `MalformedMessage`."""
    attributes = _inside(body, _SERVICE, "IPVS_CMD_ATTR_SERVICE")
    family = _FAMILIES.get(_u16(attributes, _AF, "address family"))
    if family is None:
        raise MalformedMessage("IPVS: a virtual server of an unknown address family")
    flags = attributes.get(_FLAGS, b"")
    if len(flags) != _TWO_U32.size:
        raise MalformedMessage("IPVS: a virtual server without flags")
    scheduling = Scheduling(
        scheduler=attributes.get(_SCHEDULER, b"").rstrip(b"\0").decode(errors="replace"),
        flags=int(_TWO_U32.unpack(flags)[0]) & ~_HASHED,
        timeout_s=_u32(attributes, _TIMEOUT, "time-out"),
        prefix=_prefix(family, _value(attributes, _NETMASK, "netmask", 4)),
    )
    if _MARK in attributes:
        return ListedServer(None, scheduling)
    protocol = _u16(attributes, _PROTOCOL, "protocol")
    port = int.from_bytes(_value(attributes, _PORT, "port", 2))
    server = VirtualServer(
        _address(attributes, _ADDRESS, family), _PROTOCOLS.get(protocol, f"protocol {protocol}"), port
    )
    return ListedServer(server, scheduling)


def read_destination(server: VirtualServer, body: bytes) -> ListedDestination:
    """Decode one message of the answer to `list_destinations(server)`. Raises `MalformedMessage`."""
    attributes = _inside(body, _DESTINATION, "IPVS_CMD_ATTR_DEST")
    family = server.family
    if _D_FAMILY in attributes:  # since Linux 3.18; a tunnel may lead to the other family
        family = _FAMILIES.get(_u16(attributes, _D_FAMILY, "address family"), family)
    port = int.from_bytes(_value(attributes, _D_PORT, "port", 2))
    method = _u32(attributes, _D_METHOD, "forwarding method")
    return ListedDestination(
        Destination(server, _address(attributes, _D_ADDRESS, family), port),
        weight=_u32(attributes, _D_WEIGHT, "weight"),
        active=_u32(attributes, _D_ACTIVE, "number of active connections"),
        inactive=_u32(attributes, _D_INACTIVE, "number of inactive connections"),
        persistent=_u32(attributes, _D_PERSISTENT, "number of persistent connections"),
        translated=method & _METHOD_MASK == _MASQUERADE,
    )


def read_timeouts(body: bytes) -> Timeouts:
    """Decode the answer to `get_timeouts`. Raises `MalformedMessage`."""
    if len(body) < genetlink.HEADER_LENGTH:
        raise MalformedMessage("IPVS: a message without header")
    attributes = attribute_map(body, genetlink.HEADER_LENGTH)
    kinds = (_TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP)
    return Timeouts(*(_u32(attributes, kind, "time-out") for kind in kinds))


def _identity(server: VirtualServer) -> bytes:
    return _IDENTITY.pack(
        *(6, _AF, _AF_OF[server.family]),
        *(6, _PROTOCOL, _NUMBERS[server.protocol]),
        *(20, _ADDRESS, packed(server.ip)),
        *(6, _PORT, _BE16.pack(server.port)),
    )


def _whole_server(server: VirtualServer, scheduling: Scheduling) -> bytes:
    name = scheduling.scheduler.encode()
    if len(name) > _MAX_SCHEDULER:
        raise ValueError(f"{scheduling.scheduler!r} is no scheduler: a name has {_MAX_SCHEDULER} bytes at most")
    prefix = scheduling.prefix or server.family.bits
    netmask = _U32.pack(prefix)
    if server.family is Family.IPV4:
        netmask = _BE32.pack(0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF)
    return nested(
        _SERVICE,
        _identity(server),
        attribute(_SCHEDULER, name + b"\0"),
        attribute(_FLAGS, _TWO_U32.pack(scheduling.flags, 0xFFFFFFFF)),
        attribute(_TIMEOUT, _U32.pack(scheduling.timeout_s)),
        attribute(_NETMASK, netmask),
    )


def _target(destination: Destination, weight: int) -> bytes:
    family = Family.IPV6 if ":" in destination.ip else Family.IPV4
    values = _TARGET.pack(
        *(20, _D_ADDRESS, packed(destination.ip)),
        *(6, _D_PORT, _BE16.pack(destination.port)),
        *(8, _D_METHOD, _MASQUERADE),
        *(8, _D_WEIGHT, weight),
        *(8, _D_UPPER, 0),
        *(8, _D_LOWER, 0),
        *(6, _D_FAMILY, _AF_OF[family]),
    )
    return nested(_DESTINATION, values)


def _inside(body: bytes, kind: int, name: str) -> dict[int, bytes]:
    if len(body) < genetlink.HEADER_LENGTH:
        raise MalformedMessage("IPVS: a message without header")
    value = attribute_map(body, genetlink.HEADER_LENGTH).get(kind)
    if value is None:
        raise MalformedMessage(f"IPVS: a message without {name}")
    return attribute_map(value)


def _prefix(family: Family, netmask: bytes) -> int:
    """Return the length of a netmask: big endian bits in IPv4, the length itself in IPv6."""
    if family is Family.IPV6:
        return int(_U32.unpack(netmask)[0])
    return int.from_bytes(netmask).bit_count()


def _address(attributes: Mapping[int, bytes], kind: int, family: Family) -> str:
    value = _value(attributes, kind, "address", 16)
    if family is Family.IPV6:
        return str(ipaddress.IPv6Address(value))
    return f"{value[0]}.{value[1]}.{value[2]}.{value[3]}"


def _u16(attributes: Mapping[int, bytes], kind: int, name: str) -> int:
    return int(_U16.unpack(_value(attributes, kind, name, 2))[0])


def _u32(attributes: Mapping[int, bytes], kind: int, name: str) -> int:
    return int(_U32.unpack(_value(attributes, kind, name, 4))[0])


def _value(attributes: Mapping[int, bytes], kind: int, name: str, length: int) -> bytes:
    value = attributes.get(kind, b"")
    if len(value) != length:
        raise MalformedMessage(f"IPVS: {name} of {len(value)} bytes, not {length}")
    return value
