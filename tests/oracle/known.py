"""What is known to differ between kube-proxy of the version under test and the table, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.flows.line import Elsewhere

if TYPE_CHECKING:
    from tests.flows.stage import Case


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of the table: those of `row` whose label has `text` in it, in the modes with these letters."""

    row: str
    text: str = ""
    modes: str = "inv"

    def include(self, case: Case) -> bool:
        line = case.entry.line
        assert not isinstance(line, Elsewhere)
        return self.row == line.row and self.text in line.label and case.mode.letter in self.modes


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines that kube-proxy does not follow, and kproxy does. `documented` begins its row in docs/differences.md."""

    lines: Lines
    reason: str
    documented: str


STALE_UDP = "1.36 leaves the conntrack entries of UDP flows to a Service without endpoints, or deleted; ours go"
NAT_FLUSHED = (
    "kube-proxy's canary is in mangle alone, so it finds out by the full sync of the next hour; ours is in nat too"
)
HEADLESS_LABEL = (
    "kube-proxy 1.36 asks for EndpointSlices without the headless label, but for Services with any label that have a "
    "clusterIP: a ClusterIP Service with that label has no endpoints and refuses. The table says it has no rules"
)

DIFFERENCES = (
    Difference(
        Lines("31", "headless label"),
        HEADLESS_LABEL,
        "a ClusterIP Service with the label `service.kubernetes.io/headless`",
    ),
    Difference(Lines("96"), STALE_UDP, "UDP flows to a Service scaled to zero, or deleted, keep going"),
    Difference(Lines("102"), NAT_FLUSHED, "looks for its canary in `mangle` only"),
)

IN_A_SERVICE_CIDR = (
    "on a real API server every clusterIP is in a ServiceCIDR, where the nftables mode drops what has no Service; the "
    "table is about an address outside"
)
#: Lines whose outcome in the table can't be had on a real API server, with either program.
BESIDE_THE_TABLE = (Lines("31", "PA->C", modes="n"), Lines("96", "Service deleted", modes="n"))

#: Configurations that kube-proxy of the version under test does not take.
NOT_YET = {"localhost-gate": "the gate KubeProxyNFTablesLocalhostNodePorts is of 1.37"}


def reason(case: Case) -> str:
    """Why kube-proxy does not do what the table says of this case, and kproxy does; empty when it should."""
    return "; ".join(known.reason for known in DIFFERENCES if known.lines.include(case))


def beside_the_table(case: Case) -> str:
    """Why neither program does what the table says of this case; empty when both should."""
    return IN_A_SERVICE_CIDR if any(lines.include(case) for lines in BESIDE_THE_TABLE) else ""
