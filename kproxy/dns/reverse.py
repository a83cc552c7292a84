"""Reverse zones: who has an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.codes import PTR
from kproxy.dns.names import IN_ADDR, IP6, address_of_reverse, is_within, reverse_zone
from kproxy.dns.records import Answer, Authority, RRset, authority, no_data, no_name, not_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.dns.service_answers import ServiceAnswers
    from kproxy.dns.zone_config import ZoneConfig

ARPA = {4: Authority(IN_ADDR, 2), 16: Authority(IP6, 2)}
"""The zones of addresses that are in no configured one, by the addresses' length."""


class ReverseZones:
    """The configured reverse zones, and the addresses elsewhere that are known.

    `apex` answers for the zones' own names.
    """

    def __init__(self, config: ZoneConfig, answers: ServiceAnswers, apex: Callable[[int, Authority], Answer]) -> None:
        self._ttl = config.ttl
        self._answers = answers
        self._apex = apex
        self._zones = sorted((authority(reverse_zone(cidr)) for cidr in config.reverse), key=lambda zone: -zone.labels)

    def find(self, name: bytes, starts: list[int], qtype: int, *, synced: bool) -> Answer | None:
        """Return the answer for a name, None if it is somebody else's."""
        if not name.endswith((IN_ADDR, IP6)):
            return None
        zone = next((zone for zone in self._zones if is_within(name, starts, zone.name)), None)
        address = address_of_reverse(name)
        owners = self._answers.names_of(address) if address is not None else ()
        if address is not None and owners:
            found = zone or ARPA[len(address)]
            return Answer(found, answer=(RRset(PTR, self._ttl, owners),)) if qtype == PTR else no_data(found, qtype)
        if zone is None:
            # What is not known yet is not to be asked of others.
            return not_ready(ARPA[len(address)]) if address is not None and not synced else None
        if len(starts) == zone.labels:
            return self._apex(qtype, zone)
        # A name above addresses is there as long as its zone is; who minimises query names (RFC 9156) walks over it.
        return no_data(zone, qtype) if address is None and _is_above_addresses(name, starts) else no_name(zone)


def _is_above_addresses(name: bytes, starts: list[int]) -> bool:
    size, most = (2, 32) if name.endswith(IP6) else (4, 4)
    labels = [name[start + 1 : start + 1 + name[start]] for start in starts[:-2]]
    return len(labels) < most and all(len(label) < size and label.isalnum() for label in labels)
