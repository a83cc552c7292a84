"""What a scenario gets to work with: the lab, the program under test, and Services of its own in one family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.flows.expect import Addresses, Expectation, differences
from tests.lab.agent import Agent, eventually
from tests.lab.probe import Probe, Report

if TYPE_CHECKING:
    from pathlib import Path

    from tests.flows.configs import Config
    from tests.flows.line import Source, Target
    from tests.flows.modes import Mode
    from tests.flows.services import Deployed, Place
    from tests.lab import Cluster, Family, Held
    from tests.lab.probe import Protocol

SOURCE_HOST: dict[Source, str] = {
    "PA": "pa",
    "PB": "b2",
    "A": "node-a",
    "A-LO": "node-a",
    "A-VIP": "node-a",
    "EXT": "client",
    "OUT": "stranger",
}
REFUSED_WITHIN_S, DROPPED_AFTER_S, ANSWERED_WITHIN_S = 0.9, 1.2, 5.0
#: SCTP takes a refusal that comes while it still sends for a passing trouble, and asks again after 3 s.
SCTP_REFUSED_WITHIN_S = 4.0


def target_address(cluster: Cluster, place: Place, target: Target, family: Family) -> tuple[str, int]:
    """The address and port that a target of the table means."""
    host, _, port = target.rpartition(":") if target.endswith((":NP", ":81")) else (target, "", "80")
    number = place.node_port if port == "NP" else int(port)
    match host:
        case "C":
            return place.cluster_ip(family), number
        case "X":
            return place.external_ip(family), number
        case "L":
            return place.load_balancer_ip(family), number
        case "U":
            return place.unallocated_ip(family), number
        case "NA" | "NA2":
            return cluster.address("node-a", family, 1 if host == "NA2" else 0), number
        case "NB":
            return cluster.address("node-b", family), number
    return host.strip("[]"), number


def source_address(cluster: Cluster, place: Place, source: Source, family: Family) -> str | None:
    """What a source of the table binds to; None when that is left to the kernel."""
    if source == "A":
        return cluster.address("node-a", family, 1)
    if source == "A-VIP":
        return place.load_balancer_ip(family)
    return None


def addresses(cluster: Cluster, source: Source, family: Family, bound: str | None, target: str) -> Addresses:
    """What judging needs to know about a flow to the address `target`."""
    host = SOURCE_HOST[source]
    loopback = target in ("127.0.0.1", "::1")
    return Addresses(
        host, bound or (target if loopback else cluster.address(host, family)), cluster.address("node-a", family)
    )


def make_probe(
    cluster: Cluster,
    place: Place,
    family: Family,
    source: Source,
    target: Target,
    expected: Expectation,
    candidates: int,
    protocol: Protocol = "tcp",
) -> Probe:
    """The probe that shows whether a flow is as expected. `candidates` is the number of endpoints the Service has.

    12 connections and 12 more per endpoint see all endpoints with overwhelming probability.
    """
    address, port = target_address(cluster, place, target, family)
    bound = source_address(cluster, place, source, family)
    if protocol == "sctp" and bound is None:
        # Unbound it would tell the server of all its addresses, and what the server then sends to one that no NAT knows
        # ends the association.
        bound = cluster.address(SOURCE_HOST[source], family)
    if not expected.answered:
        refused_within = SCTP_REFUSED_WITHIN_S if protocol == "sctp" else REFUSED_WITHIN_S
        timeout = DROPPED_AFTER_S if expected.kind.name == "DROPPED" else refused_within
        return Probe(SOURCE_HOST[source], address, port, protocol, 3, bound, timeout_s=timeout, parallel=3)
    count = 240 if expected.even else 12 + 12 * candidates if candidates > 1 else 4
    return Probe(SOURCE_HOST[source], address, port, protocol, count, bound, timeout_s=ANSWERED_WITHIN_S)


@dataclass(slots=True)
class Scene:
    """One scenario in one family. The first Service is the one that targets without a number mean."""

    cluster: Cluster
    agent: Agent
    mode: Mode
    config: Config
    family: Family
    deployed: tuple[Deployed, ...]
    #: Every sync fails while this file exists. Only in the configuration "stuck".
    obstruction: Path

    def write(self) -> None:
        """Put all objects of the scenario where the program under test reads them."""
        for one in self.deployed:
            self.cluster.manifests.write(one.place.name, [one.service(self.cluster)])
        self.set_endpoints(*(one.svc.endpoints for one in self.deployed))

    def set_endpoints(self, *endpoints: str) -> None:
        """Replace the endpoints of the first Services in one step; those not named keep what they were made with."""
        slices = []
        for i, one in enumerate(self.deployed):
            slices += one.slices(self.cluster, endpoints[i] if i < len(endpoints) else None)
        if slices:
            self.cluster.manifests.write(f"{self.deployed[0].place.name}-slices", slices)

    def delete_service(self) -> None:
        """Delete the first Service; its slices stay, as they do for a moment in a real cluster."""
        self.cluster.manifests.remove(self.deployed[0].place.name)

    def target(self, target: Target, service: int = 0) -> tuple[str, int]:
        return target_address(self.cluster, self.deployed[service].place, target, self.family)

    def hold(self, source: Source, target: Target, protocol: Protocol = "tcp", service: int = 0) -> Held:
        """A conversation that stays open; for UDP one flow from a fixed port."""
        address, port = self.target(target, service)
        bound = source_address(self.cluster, self.deployed[service].place, source, self.family) or ""
        return self.cluster.hold(SOURCE_HOST[source], address, port, protocol, source_address=bound, timeout_s=1.0)

    def probe(
        self, source: Source, target: Target, count: int = 1, service: int = 0, timeout_s: float = DROPPED_AFTER_S
    ) -> Report:
        """New TCP connections."""
        address, port = self.target(target, service)
        return self.cluster.probe(Probe(SOURCE_HOST[source], address, port, count=count, timeout_s=timeout_s))

    def wrong(self, source: Source, target: Target, expected: Expectation, service: int = 0) -> str:
        """What is wrong with new TCP connections, as text; empty when they are as expected."""
        place = self.deployed[service].place
        candidates = len(expected.who) + 1
        probe = make_probe(self.cluster, place, self.family, source, target, expected, candidates)
        report = self.cluster.probe(probe)
        found = differences(
            report, expected, addresses(self.cluster, source, self.family, probe.source_address, probe.address)
        )
        return "; ".join(found) and f"{source}->{target}, expected {expected}: {'; '.join(found)}\n{report}"

    def check(self, source: Source, target: Target, expected: Expectation, service: int = 0) -> None:
        """New TCP connections are as expected, now."""
        wrong = self.wrong(source, target, expected, service)
        assert not wrong, wrong

    def wait_for(self, source: Source, target: Target, expected: Expectation, service: int = 0) -> None:
        """New TCP connections become as expected, in time."""
        last = ""

        def right() -> bool:
            nonlocal last
            last = self.wrong(source, target, expected, service)
            return not last

        try:
            eventually(right, f"{source}->{target} {expected}")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{last}") from None
