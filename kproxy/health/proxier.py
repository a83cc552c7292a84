"""The health of the proxier: what is pending since when, per IP family, and what /healthz and /livez say of it.

A state machine of frozen values: a transition returns the new state, and every instant comes in as an argument.
Instants (`now`) are seconds of a monotonic clock, so that a step of the wall clock makes nothing red or green;
the wall clock (`wall`, seconds since 1970) is only printed.

The rules are kube-proxy's (its package proxy/healthcheck):

* A family is late when a change waits for a sync for 2 x sync period or longer. One that waits for nothing is not
  late, however old its last sync is: an API server that can't be reached turns nothing red.
* /livez is green when no family is late. /healthz also needs an eligible node: one that neither is being deleted nor
  has the taint `ToBeDeletedByClusterAutoscaler`. The node is eligible until the first Node object is seen; a cordoned
  one is eligible.

and it goes further where kube-proxy stays green although nothing works:

* /healthz is 503 until every family in use has been synced once: an agent that has programmed nothing is not healthy.
  (kube-proxy stamps "updated" at the start of its loop and answers 200 from then on.) /livez is not affected, since a
  restart would not help.
* A sync that was started and does not end, or that failed, is pending too, even when no change had asked for it.
* A change that comes in while a sync runs stays pending when that sync ends: it came too late for it.
* Once the agent's loop has given a sign of life (`beat`), its silence for 2 x sync period makes every family late.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kproxy.health.answer import Answer, health_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def _oldest(*instants: float | None) -> float | None:
    return min((instant for instant in instants if instant is not None), default=None)


@dataclass(frozen=True, slots=True)
class FamilyState:
    """What one IP family waits for. All instants in seconds of the monotonic clock; None is "nothing"."""

    queued_at: float | None = None
    """The oldest change that no sync has taken up."""
    syncing_since: float | None = None
    """The oldest change the running sync carries, or its start when no change had asked for it."""
    synced_at: float | None = None
    """The last success."""

    def queued(self, now: float) -> FamilyState:
        """Note a change that needs a sync."""
        return replace(self, queued_at=_oldest(self.queued_at, now))

    def started(self, now: float) -> FamilyState:
        """Note that a sync takes up all that was queued."""
        return replace(self, queued_at=None, syncing_since=_oldest(self.syncing_since, self.queued_at, now))

    def synced(self, now: float) -> FamilyState:
        """Note a success. Without a `started` before it, all that was queued counts as done."""
        queued_at = None if self.syncing_since is None else self.queued_at
        return FamilyState(queued_at=queued_at, syncing_since=None, synced_at=now)

    def failed(self, now: float) -> FamilyState:
        """Note a failure: what the sync carried waits again, since when it first did."""
        return replace(self, queued_at=_oldest(self.queued_at, self.syncing_since, now), syncing_since=None)

    def late(self, now: float, timeout_s: float) -> bool:
        """Tell whether something has been pending for `timeout_s` or longer."""
        since = _oldest(self.queued_at, self.syncing_since)
        return since is not None and now - since >= timeout_s


@dataclass(frozen=True, slots=True)
class ProxierState:
    """The state of all families, of the node and of the agent's loop; `timeout_s` is 2 x sync period."""

    timeout_s: float
    families: Mapping[str, FamilyState] = field(default_factory=dict)
    node_eligible: bool = True
    beat_at: float | None = None

    def expect(self, families: Iterable[str]) -> ProxierState:
        """Set the families in use; others are forgotten, what is known of these stays."""
        return replace(self, families={name: self.of(name) for name in sorted(families)})

    def of(self, family: str) -> FamilyState:
        """Return what is known of a family; one that never reported waits for nothing."""
        return self.families.get(family, FamilyState())

    def with_family(self, family: str, state: FamilyState) -> ProxierState:
        """Return this state with that of one family replaced."""
        return replace(self, families={**self.families, family: state})

    def node_changed(self, *, deleting: bool, tainted: bool) -> ProxierState:
        """Note the own Node: has it a deletionTimestamp; has it a taint with key ToBeDeletedByClusterAutoscaler."""
        return replace(self, node_eligible=not (deleting or tainted))

    def beat(self, now: float) -> ProxierState:
        """Note a sign of life of the agent's loop."""
        return replace(self, beat_at=now)

    def alive(self, now: float) -> bool:
        """Tell whether no family is late: health in the sense of /livez and of the health check node ports."""
        return not any(self._late(state, now) for state in self.families.values())

    def livez(self, now: float, wall: float) -> Answer:
        """Answer /livez."""
        status = {family: not self._late(state, now) for family, state in self.families.items()}
        return self._answer(now, wall, status, healthy=all(status.values()), node_eligible=None)

    def healthz(self, now: float, wall: float) -> Answer:
        """Answer /healthz. 503 while no family is expected, or one expected was never synced."""
        status = {
            family: state.synced_at is not None and not self._late(state, now)
            for family, state in self.families.items()
        }
        healthy = bool(status) and all(status.values())
        return self._answer(now, wall, status, healthy=healthy, node_eligible=self.node_eligible)

    def _late(self, state: FamilyState, now: float) -> bool:
        silent = self.beat_at is not None and now - self.beat_at >= self.timeout_s
        return silent or state.late(now, self.timeout_s)

    def _answer(
        self, now: float, wall: float, status: Mapping[str, bool], *, healthy: bool, node_eligible: bool | None
    ) -> Answer:
        """Build the body in the form of kube-proxy 1.34: "healthy" speaks of the families alone, not of the node.

        "lastUpdated" at the top is the current time when the answer is 200 (older readers take an old one for an
        error), else the newest success; that of a family is always its last success. Before the first it is null.
        """

        def date(instant: float | None) -> str | None:
            return None if instant is None else _rfc3339(wall - (now - instant))

        ok = healthy and node_eligible is not False
        newest = max((s.synced_at for s in self.families.values() if s.synced_at is not None), default=None)
        body: dict[str, object] = {"lastUpdated": date(now if ok else newest), "currentTime": date(now)}
        if node_eligible is not None:
            body["nodeEligible"] = node_eligible
        body["healthy"] = healthy
        body["status"] = {
            family: {"lastUpdated": date(self.of(family).synced_at), "healthy": up}
            for family, up in sorted(status.items())
        }
        return health_answer(ok, body)


def _rfc3339(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
