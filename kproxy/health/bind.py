"""Where a server listens: the text of a flag or field, as an address and a port."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from kproxy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BindAddress:
    """`host` is an IP address, or "" for all addresses; port 0 leaves the choice to the kernel (tests)."""

    host: str
    port: int

    @property
    def all_addresses(self) -> bool:
        """True for "", 0.0.0.0 and ::."""
        return self.host == "" or ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_bind(text: str, *, field: str, default_port: int) -> BindAddress:
    """Read "IP:PORT", "[IPv6]:PORT", ":PORT", or an IP address alone, which gets `default_port`.

    Raises ConfigError, naming `field`, for anything else.
    """
    host, port = _split(text, default_port)
    try:
        if not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError
        return BindAddress(str(ip_address(host)) if host else "", int(port))
    except ValueError:
        raise ConfigError(field, f"{text!r} is not an address", remedy="write IP:PORT, [IPv6]:PORT or :PORT") from None


def _split(text: str, default_port: int) -> tuple[str, str]:
    """Cut the text in host and port; what fits no form comes back with an empty port."""
    if match := re.fullmatch(r"\[(.+)\](?::(.*))?", text):
        return match[1], str(default_port) if match[2] is None else match[2]
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, str(default_port) if text else ""
