"""Names as they stand in DNS messages: labels, each behind its length, and a zero octet.

A *relative* name has no zero octet at its end: it is followed by a zone's name. Names are compared in lower case
(RFC 4343); `bytes.lower` is right for a whole wire name, since a length octet is at most 63 and letters begin at 65.
"""

from __future__ import annotations

import ipaddress
import re

MAX_NAME = 255

_HOST = re.compile(rb"[-_0-9A-Za-z]{1,63}", re.ASCII)
_DIGITS = re.compile(rb"\d{1,3}", re.ASCII)


def labels_of(text: str) -> list[bytes]:
    """Return the labels of a name of letters, digits, hyphens and underscores. Raises ValueError."""
    try:
        labels = text.removesuffix(".").encode("ascii").split(b".")
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not a domain name") from None
    if not all(_HOST.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is not a domain name")
    return labels


def relative(*labels: bytes) -> bytes:
    """Return the labels as a relative name. The caller vouches that they are 1 to 63 octets long."""
    return b"".join([b"%c%b" % (len(label), label) for label in labels])


def absolute(text: str) -> bytes:
    """Return the wire form of a name ("." is the root). Raises ValueError."""
    if text == ".":
        return b"\0"
    name = relative(*labels_of(text)) + b"\0"
    if len(name) > MAX_NAME:
        raise ValueError(f"{text!r} is longer than {MAX_NAME} octets")
    return name


def label_starts(name: bytes) -> list[int]:
    """Return where the labels of a sound wire name begin."""
    starts, at = [], 0
    while name[at]:
        starts.append(at)
        at += 1 + name[at]
    return starts


def is_within(name: bytes, starts: list[int], zone: bytes) -> bool:
    """Tell whether a name, whose labels begin at `starts`, is a zone's or below it; both in lower case."""
    return name.endswith(zone) and len(name) - len(zone) in (*starts, len(name) - 1)


def text_of(name: bytes) -> str:
    """Return a wire name for people: `web.shop.`, unusual octets in decimal (RFC 1035 section 5.1)."""
    parts: list[str] = []
    at = 0
    while at < len(name) and name[at]:
        label = name[at + 1 : at + 1 + name[at]]
        parts.append("".join(chr(c) if 33 <= c < 127 and c not in b'."\\;' else f"\\{c:03d}" for c in label))
        at += 1 + name[at]
    return ".".join(parts) + "."


def pack_ip(text: str) -> bytes:
    """Return a canonical address in network order: 4 or 16 octets. Raises ValueError."""
    return ipaddress.ip_address(text).packed


def dashed(address: bytes) -> bytes:
    """Return the label that stands for an address where an endpoint has no hostname: `10-0-0-1`, `fd00--1`.

    CoreDNS's form: the canonical text with dashes; one that would end in a dash gets a 0.
    """
    if len(address) == 4:
        return b"%d-%d-%d-%d" % tuple(address)
    text = ipaddress.IPv6Address(address).compressed.replace(":", "-").encode()
    return text + b"0" if text.endswith(b"-") else text


def undashed(label: bytes) -> bytes | None:
    """Return the address that a pod's label stands for, None if it is not one.

    Three dashes and no two together make IPv4; in anything else a dash is a colon.
    """
    try:
        if label.count(b"-") == 3 and b"--" not in label:
            return ipaddress.IPv4Address(label.replace(b"-", b".").decode("ascii")).packed
        return ipaddress.IPv6Address(label.replace(b"-", b":").decode("ascii")).packed
    except (ValueError, UnicodeDecodeError):
        return None


IN_ADDR = b"\x07in-addr\x04arpa\0"
IP6 = b"\x03ip6\x04arpa\0"


def reverse_zone(cidr: str) -> bytes:
    """Return the reverse zone that holds a network: 10.244.0.0/17 -> `244.10.in-addr.arpa.`.

    A prefix that ends within an octet (IPv6: a nibble) is widened to the one that does not. Raises ValueError.
    """
    network = ipaddress.ip_network(cidr, strict=False)
    if network.version == 4:
        octets = network.network_address.packed[: network.prefixlen // 8]
        return relative(*[b"%d" % octet for octet in reversed(octets)]) + IN_ADDR
    nibbles = network.network_address.packed.hex()[: network.prefixlen // 4].encode()
    return b"".join(b"\1%c" % nibble for nibble in reversed(nibbles)) + IP6


def address_of_reverse(name: bytes) -> bytes | None:
    """Return the address that a lower-case name under in-addr.arpa or ip6.arpa stands for, None if for none."""
    if name.endswith(IP6):
        nibbles = name[: -len(IP6)]
        if len(nibbles) != 64 or nibbles[::2] != b"\1" * 32:
            return None
        try:
            return bytes.fromhex(nibbles[:0:-2].decode("ascii"))
        except (ValueError, UnicodeDecodeError):
            return None
    if not name.endswith(IN_ADDR):
        return None
    octets: list[int] = []
    at, end = 0, len(name) - len(IN_ADDR)
    while at < end:
        label = name[at + 1 : at + 1 + name[at]]
        # As written only: 010.0.0.10 is another name than 10.0.0.10.
        if not _DIGITS.fullmatch(label) or int(label) > 255 or (label[0] == 48 and len(label) > 1):
            return None
        octets.append(int(label))
        at += 1 + name[at]
    return bytes(reversed(octets)) if len(octets) == 4 else None
