"""The servers that a resolv.conf(5) names. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address

from kproxy.dns.exchange import Upstream
from kproxy.errors import ConfigError

MOST = 15


def name_servers(text: str) -> list[str]:
    """Return the addresses of the `nameserver` lines, each once; what is no IP address is passed over.

    A link-local address names its interface, as in fe80::1%eth0: it is of no use without.
    """
    found: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found[str(ip_address(words[1]))] = None
            except ValueError:
                continue
    return list(found)


def parse_upstream(text: str, *, field: str) -> Upstream:
    """Read an upstream: IP, IP:PORT or [IPv6]:PORT. Raises `ConfigError` naming `field`."""
    host, port = text, "53"
    if match := re.fullmatch(r"\[(.+)\](?::(.+))?", text):
        host, port = match[1], match[2] or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError
        return Upstream(str(ip_address(host)), int(port))
    except ValueError:
        raise ConfigError(field, f"{text!r} is not an address", remedy="write IP, IP:PORT or [IPv6]:PORT") from None
