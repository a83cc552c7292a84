"""IP addresses, CIDRs and families as the rest of kproxy uses them: canonical strings, parsed once at the edge."""

from __future__ import annotations

import enum
import ipaddress
import re

_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!\Z)|\Z)){4}", re.ASCII)
"""A canonical IPv4 address: what nearly every object holds, told much faster than by the standard library."""


_PREFIX = re.compile(r"/\d{1,3}\Z", re.ASCII)


class Family(enum.StrEnum):
    """An IP family, spelled as in the API and in metric labels."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def bits(self) -> int:
        """Length of an address: 32 or 128."""
        return 32 if self is Family.IPV4 else 128


FAMILIES = (Family.IPV4, Family.IPV6)


def parse_ip(text: str) -> tuple[Family, str]:
    """Return family and canonical form of an address (`FD00::0001` -> `fd00::1`).

    An IPv4-mapped IPv6 address and a scoped one (`fe80::1%eth0`) are refused: neither can stand in a rule.
    Raises ValueError.
    """
    if _IPV4.fullmatch(text):
        return Family.IPV4, text
    ip = ipaddress.ip_address(text)
    if ip.version == 4:
        return Family.IPV4, str(ip)
    if ip.ipv4_mapped is not None or ip.scope_id is not None:
        raise ValueError(f"{text!r} is not a plain IPv6 address")
    return Family.IPV6, ip.compressed


def parse_cidr(text: str) -> tuple[Family, str]:
    """Return family and canonical form of a CIDR; host bits and white space around it go. Raises ValueError."""
    text = text.strip()
    # Python would also take a netmask behind the slash, and a scope; Go, and so the API server, takes neither.
    if not _PREFIX.search(text) or "%" in text:
        raise ValueError(f"{text!r} has no prefix length")
    network = ipaddress.ip_network(text, strict=False)
    return (Family.IPV4 if network.version == 4 else Family.IPV6), str(network)


def cidr_contains(cidr: str, ip: str) -> bool:
    """Tell whether a canonical CIDR holds a canonical address; False when the families differ."""
    network = ipaddress.ip_network(cidr)
    address = ipaddress.ip_address(ip)
    return network.version == address.version and address in network


def packed(ip: str) -> bytes:
    """Return the 4 or 16 bytes of a canonical address, in network order."""
    if ":" in ip:
        return ipaddress.IPv6Address(ip).packed
    # It is canonical already: checking it again takes longer than packing it.
    first, second, third, fourth = ip.split(".")
    return bytes((int(first), int(second), int(third), int(fourth)))


def with_port(ip: str, port: int) -> str:
    """Join as `10.0.0.1:80` or `[fd00::1]:80`, the form of endpoint identities and of DNAT targets."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
