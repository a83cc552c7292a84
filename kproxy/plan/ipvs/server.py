"""What IPVS is made of: virtual servers, how each chooses, and the destinations it chooses from. Values only."""

from __future__ import annotations

import enum

import msgspec

from kproxy.state.addresses import Family, with_port


class Flag(enum.IntFlag):
    """IP_VS_SVC_F_* of the kernel. The last two mean something to the schedulers `sh` and `mh` only."""

    PERSISTENT = 0x01
    ONE_PACKET = 0x04
    FALLBACK = 0x08
    """mh-fallback, sh-fallback: a client whose destination has no weight goes to another one."""
    SOURCE_PORT = 0x10
    """mh-port, sh-port: the client's port is hashed too."""


class VirtualServer(msgspec.Struct, frozen=True, gc=False, order=True):
    """What a client connects to. `protocol` is TCP, UDP or SCTP; `ip` is canonical."""

    ip: str
    protocol: str
    port: int

    @property
    def family(self) -> Family:
        """The family of its address."""
        return Family.IPV6 if ":" in self.ip else Family.IPV4

    def __str__(self) -> str:
        return f"{self.protocol} {with_port(self.ip, self.port)}"


class Scheduling(msgspec.Struct, frozen=True, gc=False):
    """How a virtual server chooses a destination.

    With `Flag.PERSISTENT` a client stays with its destination until `timeout_s` seconds have passed without a new
    connection; `prefix` is how much of its address makes a client one (32 or 128: all of it).
    """

    scheduler: str
    flags: int = 0
    timeout_s: int = 0
    prefix: int = 0


class Destination(msgspec.Struct, frozen=True, gc=False, order=True):
    """Where a virtual server may send a connection: one endpoint. It belongs to `server`."""

    server: VirtualServer
    ip: str
    port: int

    def __str__(self) -> str:
        return f"{with_port(self.ip, self.port)} of {self.server}"
