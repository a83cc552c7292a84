"""The health state machine, with a clock that the tests hold.

Sync period 30 s, so the limit is 60 s (reference section 7.1: 2 x syncPeriod; pending for *less* than that is healthy).
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest

from kproxy.health.proxier import FamilyState, ProxierState
from kproxy.health.shared import ProxierHealth

if TYPE_CHECKING:
    from kproxy.health.answer import Answer

Verb = Literal["queued", "started", "synced", "failed"]
Event = tuple[float, Verb, str]

VERBS: tuple[Verb, ...] = ("queued", "started", "failed")

# 2026-01-02T03:04:05Z
WALL = 1767323045.0


def play(events: list[Event], families: tuple[str, ...] = ("IPv4",)) -> ProxierHealth:
    health = ProxierHealth(30)
    health.expect(families)
    for now, verb, family in events:
        getattr(health, verb)(family, now)
    return health


def body(answer: Answer) -> dict[str, Any]:
    decoded = json.loads(answer.body)
    assert isinstance(decoded, dict)
    return decoded


def codes(health: ProxierHealth, now: float) -> tuple[int, int]:
    return health.healthz(now, WALL).status, health.livez(now, WALL).status


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    events: list[Event]
    """(instant, what, family)."""
    expected: list[tuple[float, int, int]]
    """(instant, code of /healthz, code of /livez)."""
    families: tuple[str, ...] = ("IPv4",)


CASES = [
    Case("nothing yet, however long", [], [(0, 503, 200), (1e6, 503, 200)]),
    Case("no family in use", [], [(0, 503, 200)], families=()),
    Case("the first sync is waited for", [(0, "queued", "IPv4")], [(59.9, 503, 200), (60, 503, 503)]),
    Case("synced, then nothing for days", [(0, "synced", "IPv4")], [(0, 200, 200), (1e6, 200, 200)]),
    Case(
        "a change pending just under the limit, and at it",
        [(0, "synced", "IPv4"), (100, "queued", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "later changes do not move the limit",
        [(0, "synced", "IPv4"), (100, "queued", "IPv4"), (150, "queued", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "a sync clears what was queued",
        [(0, "synced", "IPv4"), (100, "queued", "IPv4"), (101, "started", "IPv4"), (102, "synced", "IPv4")],
        [(103, 200, 200), (1e6, 200, 200)],
    ),
    Case(
        "a sync whose start was not told clears what was queued",
        [(0, "synced", "IPv4"), (100, "queued", "IPv4"), (102, "synced", "IPv4")],
        [(1e6, 200, 200)],
    ),
    Case(
        "a sync that hangs counts from the change that asked for it",
        [(0, "synced", "IPv4"), (100, "queued", "IPv4"), (130, "started", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "a sync by the timer that hangs counts from its start",
        [(0, "synced", "IPv4"), (100, "started", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "a hanging sync that ends at last",
        [(0, "started", "IPv4"), (200, "synced", "IPv4")],
        [(200, 200, 200)],
    ),
    Case(
        "failures count from the change that asked",
        [
            (0, "synced", "IPv4"),
            (100, "queued", "IPv4"),
            (101, "started", "IPv4"),
            (102, "failed", "IPv4"),
            (131, "started", "IPv4"),
            (132, "failed", "IPv4"),
        ],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "a failure nobody had asked for counts from the start of the sync",
        [(0, "synced", "IPv4"), (100, "started", "IPv4"), (110, "failed", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "a failure whose start was not told counts from itself",
        [(0, "synced", "IPv4"), (100, "failed", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "a failure that is made good",
        [(0, "synced", "IPv4"), (100, "failed", "IPv4"), (130, "started", "IPv4"), (131, "synced", "IPv4")],
        [(1e6, 200, 200)],
    ),
    Case(
        "a change during a sync stays pending after it",
        [(0, "started", "IPv4"), (10, "queued", "IPv4"), (20, "synced", "IPv4")],
        [(69.9, 200, 200), (70, 503, 503)],
    ),
    Case(
        "a change during a sync that fails does not hide the older one",
        [(0, "synced", "IPv4"), (100, "started", "IPv4"), (110, "queued", "IPv4"), (120, "failed", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
    ),
    Case(
        "/healthz waits for both families",
        [(0, "synced", "IPv4")],
        [(1, 503, 200)],
        families=("IPv4", "IPv6"),
    ),
    Case(
        "both families synced",
        [(0, "synced", "IPv4"), (1, "synced", "IPv6")],
        [(1, 200, 200)],
        families=("IPv4", "IPv6"),
    ),
    Case(
        "one late family is enough",
        [(0, "synced", "IPv4"), (0, "synced", "IPv6"), (100, "queued", "IPv6"), (159, "synced", "IPv4")],
        [(159.9, 200, 200), (160, 503, 503)],
        families=("IPv4", "IPv6"),
    ),
    Case(
        "the other family's success is not its own",
        [(0, "synced", "IPv4"), (0, "synced", "IPv6"), (100, "queued", "IPv6"), (170, "synced", "IPv4")],
        [(170, 503, 503)],
        families=("IPv4", "IPv6"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_codes(case: Case) -> None:
    health = play(case.events, case.families)
    assert [(now, *codes(health, now)) for now, _, _ in case.expected] == case.expected


@pytest.mark.parametrize(
    ("deleting", "tainted", "healthz"),
    [(False, False, 200), (True, False, 503), (False, True, 503), (True, True, 503)],
)
def test_node_eligibility_is_for_healthz_alone(deleting: bool, tainted: bool, healthz: int) -> None:
    """Rows 89 and 90, and row 91: a cordon is neither, so it is the first line of the table."""
    health = play([(0, "synced", "IPv4")])
    health.node_changed(deleting=deleting, tainted=tainted)
    assert codes(health, 1) == (healthz, 200)
    assert health.alive(1)
    assert body(health.healthz(1, WALL))["nodeEligible"] is (healthz == 200)
    assert body(health.healthz(1, WALL))["healthy"] is True, "it speaks of the families"


def test_eligible_again_when_the_taint_goes() -> None:
    health = play([(0, "synced", "IPv4")])
    health.node_changed(deleting=False, tainted=True)
    health.node_changed(deleting=False, tainted=False)
    assert codes(health, 1) == (200, 200)


def test_a_silent_loop_is_late_once_it_has_beaten() -> None:
    health = play([(0, "synced", "IPv4")])
    assert codes(health, 1e6) == (200, 200), "no beat yet: not counted"
    health.beat(100)
    assert codes(health, 159.9) == (200, 200)
    assert codes(health, 160) == (503, 503)
    health.beat(160)
    assert codes(health, 160) == (200, 200)


def test_expect_forgets_the_others_and_keeps_the_rest() -> None:
    health = play([(0, "synced", "IPv4"), (0, "queued", "IPv6")], families=("IPv4", "IPv6"))
    health.expect(["IPv4"])
    assert codes(health, 1000) == (200, 200)


def test_body_when_healthy() -> None:
    health = play([(100, "synced", "IPv4"), (110.5, "synced", "IPv6")], families=("IPv6", "IPv4"))
    answer = health.healthz(160.5, WALL)
    assert dict(answer.headers) == {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    assert body(answer) == {
        "lastUpdated": "2026-01-02T03:04:05.000000Z",
        "currentTime": "2026-01-02T03:04:05.000000Z",
        "nodeEligible": True,
        "healthy": True,
        "status": {
            "IPv4": {"lastUpdated": "2026-01-02T03:03:04.500000Z", "healthy": True},
            "IPv6": {"lastUpdated": "2026-01-02T03:03:15.000000Z", "healthy": True},
        },
    }


def test_body_when_one_family_is_late() -> None:
    """The date at the top is that of the newest success; /livez says nothing of the node."""
    events: list[Event] = [(100, "synced", "IPv4"), (100, "queued", "IPv6"), (110, "synced", "IPv4")]
    answer = play(events, families=("IPv4", "IPv6")).livez(160, WALL)
    assert answer.status == 503
    assert body(answer) == {
        "lastUpdated": "2026-01-02T03:03:15.000000Z",
        "currentTime": "2026-01-02T03:04:05.000000Z",
        "healthy": False,
        "status": {
            "IPv4": {"lastUpdated": "2026-01-02T03:03:15.000000Z", "healthy": True},
            "IPv6": {"lastUpdated": None, "healthy": False},
        },
    }


def test_body_before_the_first_sync() -> None:
    health = play([])
    assert body(health.healthz(5, WALL)) == {
        "lastUpdated": None,
        "currentTime": "2026-01-02T03:04:05.000000Z",
        "nodeEligible": True,
        "healthy": False,
        "status": {"IPv4": {"lastUpdated": None, "healthy": False}},
    }
    assert body(health.livez(5, WALL))["healthy"] is True


def test_transitions_are_values() -> None:
    before = ProxierState(timeout_s=60).expect(["IPv4"])
    after = before.with_family("IPv4", before.of("IPv4").queued(1))
    assert before.of("IPv4") == FamilyState()
    assert after.of("IPv4") == FamilyState(queued_at=1)


@pytest.mark.parametrize("verbs", list(itertools.product(VERBS, repeat=4)), ids="-".join)
def test_only_a_success_clears(verbs: tuple[Verb, ...]) -> None:
    """Whatever happens short of a success, the limit is that of the first event; a full round clears all of it."""
    state = FamilyState()
    for now, verb in enumerate(verbs):
        state = getattr(state, verb)(float(now))
    assert not state.late(59.9, 60)
    assert state.late(60, 60)
    assert state.started(100).synced(101) == FamilyState(synced_at=101)
