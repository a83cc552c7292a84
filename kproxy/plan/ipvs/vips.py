"""The addresses that the node must have on its own link, each for as long as a virtual server needs it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kproxy.plan.delta import DeltaTracker

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Vips:
    """Desired and actual addresses of the VIP link; `tracker` has what is between."""

    def __init__(self) -> None:
        self.tracker: DeltaTracker[str, bool] = DeltaTracker()
        self._users: Counter[str] = Counter()
        self._elsewhere: frozenset[str] = frozenset()
        self._moved: set[str] = set()

    def hold(self, ip: str) -> None:
        """Note one more virtual server with this address; of "", a node port's, nothing is noted."""
        if ip:
            self._users[ip] += 1
            self._want(ip)

    def release(self, ip: str) -> None:
        """Note one virtual server less; the address goes with its last one."""
        if not ip:
            return
        self._users[ip] -= 1
        if not self._users[ip]:
            del self._users[ip]
            self.tracker.unwant(ip)
            self._moved.add(ip)

    def leave_to_others(self, ips: Iterable[str]) -> None:
        """Take no address that another link of the node has: keepalived and kube-vip put VIPs on the node's own."""
        self._elsewhere = frozenset(ips)
        for ip in self._users:
            self._want(ip)

    def read_back(self, ips: Collection[str]) -> None:
        """Believe that the link has exactly these."""
        self.tracker.replace_actual(dict.fromkeys(ips, True))

    def take_moved(self) -> dict[str, bool]:
        """Return the addresses that came or went since this was asked: whether each is wanted on the link."""
        moved = {ip: ip in self.tracker.desired for ip in self._moved}
        self._moved.clear()
        return moved

    def _want(self, ip: str) -> None:
        self._moved.add(ip)
        if ip in self._elsewhere:
            self.tracker.unwant(ip)
        else:
            self.tracker.want(ip, True)
