"""The metrics of one IP family, with the label look-ups done once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import Counter, Gauge, Histogram

SyncKind = Literal["full", "partial"]
TrafficPolicy = Literal["internal", "external"]
Table = Literal["nat", "filter"]


@dataclass(frozen=True, slots=True)
class FamilyMetrics:
    """Children for one value of `ip_family`. Timestamps are seconds since 1970, durations seconds."""

    sync_duration: Histogram
    """Every sync, of either kind, successful or not."""
    sync_duration_by_kind: Mapping[SyncKind, Histogram]
    sync_last_timestamp: Gauge
    """The last success."""
    sync_last_queued_timestamp: Gauge
    sync_failures: Counter
    network_programming_duration: Histogram
    """From the trigger time that an EndpointSlice carries to the end of the sync that programmed it."""
    no_local_endpoints: Mapping[TrafficPolicy, Gauge]
    """Service ports at present without local endpoints under a Local policy."""
    iptables_rules: Mapping[Table, Gauge]
    """Rules owned, unchanged ones included."""
    iptables_rules_last_sync: Mapping[Table, Gauge]
    """Rules written by the last sync."""
    iptables_restore_failures: Counter
    iptables_partial_restore_failures: Counter
    nftables_sync_failures: Counter
    nftables_cleanup_failures: Counter
    """Chains that nobody uses any more and that could not be deleted at once."""
    localhost_listeners: Gauge
    """Node ports that are relayed on localhost (nftables mode)."""
    localhost_listener_failures: Counter
    foreign_changes: Counter
    """What other programs did to our rules."""
    conntrack_sync_duration: Histogram
    conntrack_deleted_entries: Counter

    def observe_sync(self, kind: SyncKind, seconds: float) -> None:
        """Record the duration of a sync, whether it succeeded or not."""
        self.sync_duration.observe(seconds)
        self.sync_duration_by_kind[kind].observe(seconds)

    def count_write_failure(self, kind: SyncKind) -> None:
        """Record that the kernel, or the tool, did not take what was written."""
        self.nftables_sync_failures.inc()
        self.iptables_restore_failures.inc()
        if kind == "partial":
            self.iptables_partial_restore_failures.inc()
