"""What of an object has no place in DNS, for who does not hold the zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.holdings import Holdings

if TYPE_CHECKING:
    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.sources.changes import Change


def problems_of(change: Change, config: ZoneConfig) -> tuple[str, ...]:
    """Return what a zone would say of one object, a line each."""
    holdings = Holdings(config)
    holdings.apply(change)
    return tuple([str(problem) for problem in holdings.problems()])
