"""Whom to ask for names outside: as the flag says, or the node's resolv.conf, which may change at any time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kproxy.dns.exchange import Upstream
from kproxy.dns.resolv_conf import MOST, name_servers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.server.config import DnsConfig

log = logging.getLogger(__name__)

RESOLV_CONFS: Final = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
"""The first one that is there counts; the second may lead to systemd-resolved's own address, and so back to itself."""


class Upstreams:
    """The servers at present, and where they are `named`. What changes is logged.

    A file that names none any more changes nothing: it may be on its way from one version to the next.
    """

    def __init__(self, config: DnsConfig) -> None:
        self._config = config
        self._lost = False
        self.servers, self.named = config.upstreams, "--dns-upstream"
        if not config.upstreams:
            self.servers, self.named = node_upstreams(config)

    def __str__(self) -> str:
        return ", ".join(str(server) for server in self.servers)

    def pairs(self) -> list[tuple[str, int]]:
        """Return addresses and ports, as a worker is told them."""
        return [(server.address, server.port) for server in self.servers]

    def look(self) -> bool:
        """See whether the node asks others now; return whether that is so."""
        if self._config.upstreams:
            return False
        servers, named = node_upstreams(self._config)
        lost, self._lost = self._lost, not servers
        if not servers and self.servers:
            if not lost:
                log.warning("%s names no other server any more: %s are asked as before", named, self)
            return False
        self.named = named
        changed, self.servers = servers != self.servers, servers
        if changed:
            self.say()
        return changed

    def say(self) -> None:
        """Log whom we ask."""
        if self.servers:
            log.info("names outside the cluster are asked of %s (%s)", self, self.named)
        else:
            log.warning("%s names no other server: names outside the cluster are refused", self.named)


def node_upstreams(config: DnsConfig, paths: Iterable[Path] = RESOLV_CONFS) -> tuple[tuple[Upstream, ...], str]:
    """Return the servers of the node's resolv.conf without ourselves, and where they are from. Never raises."""
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = [Upstream(address) for address in name_servers(text)]
        return tuple(one for one in found if not config.is_own(one))[:MOST], str(path)
    return (), "no resolv.conf"
