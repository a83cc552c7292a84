"""Which UDP frontends a clean-up has to look at, told from what changed and, for comparison, from all there is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from kproxy.plan.stale_flows import UdpFrontend
from kproxy.plan.udp_frontends import UdpFrontends

if TYPE_CHECKING:
    from kproxy.plan.stale_flows import ServingEndpoints

CLUSTER_IP = UdpFrontend("10.96.0.10", 53)
EXTERNAL_IP = UdpFrontend("192.0.2.1", 53)
NODE_PORT = UdpFrontend(None, 30053)
SIX = UdpFrontend("fd00::a", 53)

A, B = "10.1.0.5:5353", "10.1.0.6:5353"
NOTHING: frozenset[str] = frozenset()


def frozen(frontends: dict[UdpFrontend, set[str]]) -> dict[UdpFrontend, frozenset[str]]:
    return {frontend: frozenset(serving) for frontend, serving in frontends.items()}


@pytest.mark.parametrize(
    ("previous", "current", "changed"),
    [
        # The first sync reconciles everything there is.
        ({}, {}, {}),
        ({}, {CLUSTER_IP: {A}, NODE_PORT: set()}, {CLUSTER_IP: {A}, NODE_PORT: set()}),
        # Nothing changed.
        ({CLUSTER_IP: {A}}, {CLUSTER_IP: {A}}, {}),
        # Endpoints came, went, or were replaced.
        ({CLUSTER_IP: {A}}, {CLUSTER_IP: {A, B}}, {CLUSTER_IP: {A, B}}),
        ({CLUSTER_IP: {A, B}}, {CLUSTER_IP: {B}}, {CLUSTER_IP: {B}}),
        ({CLUSTER_IP: {A}, EXTERNAL_IP: {A}}, {CLUSTER_IP: {B}, EXTERNAL_IP: {A}}, {CLUSTER_IP: {B}}),
        # Scaled to zero; from zero.
        ({CLUSTER_IP: {A}}, {CLUSTER_IP: set()}, {CLUSTER_IP: set()}),
        ({CLUSTER_IP: set()}, {CLUSTER_IP: {A}}, {CLUSTER_IP: {A}}),
        # A new frontend (it may have black holes); one that is gone.
        ({}, {CLUSTER_IP: {A}}, {CLUSTER_IP: {A}}),
        ({CLUSTER_IP: {A}, SIX: {A}}, {SIX: {A}}, {CLUSTER_IP: set()}),
        # A frontend at the port of a changed node port is looked at along with it.
        (
            {NODE_PORT: {A}, UdpFrontend("192.168.0.1", 30053): {B}, CLUSTER_IP: {B}},
            {UdpFrontend("192.168.0.1", 30053): {B}, CLUSTER_IP: {B}},
            {NODE_PORT: set(), UdpFrontend("192.168.0.1", 30053): {B}},
        ),
    ],
)
def test_changed(
    previous: dict[UdpFrontend, set[str]],
    current: dict[UdpFrontend, set[str]],
    changed: dict[UdpFrontend, set[str]],
) -> None:
    udp = UdpFrontends()
    udp.set_service("ns1/dns", frozen(previous))
    udp.cleaned()
    udp.set_service("ns1/dns", frozen(current))
    assert udp.changed() == changed
    udp.cleaned()
    assert udp.changed() == {}


def test_a_failed_clean_up_is_made_up_for() -> None:
    """It is not reported: what went in between is still seen."""
    udp = UdpFrontends()
    udp.set_service("ns1/dns", frozen({CLUSTER_IP: {A}}))
    assert udp.changed() == {CLUSTER_IP: {A}}
    udp.set_service("ns1/dns", frozen({CLUSTER_IP: {B}}))
    assert udp.changed() == {CLUSTER_IP: {B}}
    udp.cleaned()
    udp.set_service("ns1/dns", {})
    udp.set_service("ns1/dns", frozen({CLUSTER_IP: {B}}))
    assert udp.changed() == {}


@pytest.mark.parametrize("giver_first", [False, True])
def test_a_frontend_moves_to_another_service(giver_first: bool) -> None:
    udp = UdpFrontends()
    udp.set_service("ns1/old", frozen({CLUSTER_IP: {A}}))
    udp.cleaned()
    for key in ("old", "new") if giver_first else ("new", "old"):
        udp.set_service(f"ns1/{key}", frozen({CLUSTER_IP: {B}} if key == "new" else {}))
    assert udp.changed() == {CLUSTER_IP: {B}}
    assert udp.serving == {CLUSTER_IP: {B}}


def changed_frontends(previous: ServingEndpoints, current: ServingEndpoints) -> ServingEndpoints:
    """The same from two whole tables."""
    changed = {frontend: allowed for frontend, allowed in current.items() if previous.get(frontend) != allowed}
    changed |= {frontend: NOTHING for frontend in previous if frontend not in current}
    node_ports = {frontend.port for frontend in changed if frontend.address is None}
    for frontend, allowed in current.items():
        if frontend.port in node_ports:
            changed.setdefault(frontend, allowed)
    return changed


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_changes_is_as_comparing_everything(seed: int) -> None:
    chance = random.Random(seed)
    frontends = [UdpFrontend(ip, port) for ip in (None, "10.96.0.10", "192.0.2.1") for port in (53, 30053, 30054)]
    udp = UdpFrontends()
    held: dict[str, dict[UdpFrontend, frozenset[str]]] = {}
    cleaned: dict[UdpFrontend, frozenset[str]] = {}
    for _ in range(60):
        service = chance.choice(["ns1/a", "ns1/b", "ns1/c"])
        free = [one for one in frontends if all(one not in other for key, other in held.items() if key != service)]
        chosen = chance.sample(free, chance.randint(0, min(3, len(free))))
        held[service] = {one: frozenset(chance.sample([A, B], chance.randint(0, 2))) for one in chosen}
        udp.set_service(service, held[service])
        current = {frontend: serving for of in held.values() for frontend, serving in of.items()}
        assert udp.serving == current
        assert udp.changed() == changed_frontends(cleaned, current)
        if chance.random() < 0.4:
            udp.cleaned()
            cleaned = current
