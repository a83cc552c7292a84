"""Packets no socket would send, put on the wire as frames, and a listener that sees what arrives at an interface."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyroute2 import IPRoute

from tests.lab.run import scaled

if TYPE_CHECKING:
    from tests.lab.namespace import Namespace

ETHERTYPE = {4: 0x0800, 6: 0x86DD}
TCP, UDP = 6, 17
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python's socket module has no name for it
BUFFER_BYTES = 64 << 20
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


@dataclass(frozen=True, slots=True)
class Segment:
    """The parts of a TCP or UDP packet that tests ask for. `flags` is 0 for UDP."""

    source: str
    target: str
    source_port: int
    target_port: int
    protocol: int
    flags: int = 0
    payload: bytes = b""

    def packet(self) -> bytes:
        """The IP packet, with valid checksums."""
        source, target = ipaddress.ip_address(self.source), ipaddress.ip_address(self.target)
        if self.protocol == TCP:
            head = struct.pack(
                "!HHIIBBHHH", self.source_port, self.target_port, 1000, 0, 5 << 4, self.flags, 8192, 0, 0
            )
        else:
            head = struct.pack("!HHHH", self.source_port, self.target_port, 8 + len(self.payload), 0)
        body = head + self.payload
        at = 16 if self.protocol == TCP else 6
        pseudo = source.packed + target.packed + struct.pack("!II", len(body), self.protocol)
        body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
        if source.version == 6:
            return struct.pack("!IHBB", 6 << 28, len(body), self.protocol, 64) + source.packed + target.packed + body
        plain = (
            struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, self.protocol, 0)
            + source.packed
            + target.packed
        )
        return plain[:10] + struct.pack("!H", checksum(plain)) + plain[12:] + body

    @classmethod
    def parse(cls, packet: bytes) -> Segment | None:
        """The packet's TCP or UDP parts; None for anything else (fragments and IPv6 extension headers included)."""
        version = packet[0] >> 4
        if version == 4:
            size, protocol = (packet[0] & 15) * 4, packet[9]
            source, target = packet[12:16], packet[16:20]
        else:
            size, protocol = 40, packet[6]
            source, target = packet[8:24], packet[24:40]
        if protocol not in (TCP, UDP) or len(packet) < size + 8:
            return None
        source_port, target_port = struct.unpack_from("!HH", packet, size)
        flags, head = (packet[size + 13], (packet[size + 12] >> 4) * 4) if protocol == TCP else (0, 8)
        names = (str(ipaddress.ip_address(source)), str(ipaddress.ip_address(target)))
        return cls(*names, source_port, target_port, protocol, flags, packet[size + head :])


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def hardware_address(namespace: Namespace, interface: str = "eth0") -> bytes:
    """The Ethernet address of an interface."""

    def read() -> bytes:
        with IPRoute() as links:
            (link,) = links.get_links(index=links.link_lookup(ifname=interface)[0])
            return bytes.fromhex(link.get("address").replace(":", ""))

    return namespace.call(read)


def send(namespace: Namespace, segment: Segment, next_hop: bytes, interface: str = "eth0") -> None:
    """Put one packet on the wire behind `interface`, addressed to the Ethernet address `next_hop`."""
    packet = segment.packet()
    with namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        sock.sendto(packet, (interface, ETHERTYPE[packet[0] >> 4], 0, 0, next_hop))


class Sniffer:
    """Sees every IP packet that comes in at an interface from the moment it is made. Use in a `with`."""

    def __init__(self, namespace: Namespace, interface: str = "eth0") -> None:
        everything = socket.htons(0x0003)
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, everything)
        # Hundreds of other flows may pass while the reader waits for its turn; nothing may be lost for that.
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.bind((interface, 0x0003))

    def until(self, wanted: Segment, timeout_s: float) -> list[Segment]:
        """All TCP and UDP packets up to the first with `wanted`'s target, protocol, flags and payload, whoever sent it.

        Empty when that one does not come in time.
        """
        deadline = time.monotonic() + scaled(timeout_s)
        seen: list[Segment] = []
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            data, where = self._socket.recvfrom(65536)
            if where[2] == socket.PACKET_OUTGOING or where[1] not in ETHERTYPE.values():
                continue
            segment = Segment.parse(data)
            if segment:
                seen.append(segment)
                if _alike(segment, wanted):
                    return seen
        return []

    def __enter__(self) -> Sniffer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()


def _alike(seen: Segment, wanted: Segment) -> bool:
    same = ("target", "target_port", "protocol", "flags", "payload")
    return all(getattr(seen, name) == getattr(wanted, name) for name in same)
