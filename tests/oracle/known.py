"""What is known to differ between kube-proxy of the version under test and the table, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.flows.line import Elsewhere
from tests.lab.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from tests.flows.stage import Case


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of the table: those of `row` whose label has `text` in it, in these modes (letters) and families.

    `row` may be several, separated by spaces.
    """

    row: str
    text: str = ""
    modes: str = "inv"
    families: tuple[Family, ...] = FAMILIES

    def include(self, case: Case) -> bool:
        line = case.entry.line
        assert not isinstance(line, Elsewhere)
        return (
            line.row in self.row.split()
            and self.text in line.label
            and case.mode.letter in self.modes
            and case.family in self.families
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines that kube-proxy does not follow, and kproxy does. `documented` begins its row in docs/differences.md.

    `now_and_then`: only when packets meet the moment in which kube-proxy is at fault.
    """

    lines: Lines
    reason: str
    documented: str
    now_and_then: bool = False


STALE_UDP = "1.36 leaves the conntrack entries of UDP flows to a Service without endpoints, or deleted; ours go"
NAT_FLUSHED = (
    "kube-proxy's canary is in mangle alone, so it finds out by the full sync of the next hour; ours is in nat too"
)
HEADLESS_LABEL = (
    "kube-proxy 1.36 asks for EndpointSlices without the headless label, but for Services with any label that have a "
    "clusterIP: a ClusterIP Service with that label has no endpoints and refuses. The table says it has no rules"
)

VIP_AS_SOURCE = (
    "over IPv6 kube-proxy masquerades what goes to a pod of this node by some VIP: the pod's link has no address of "
    "the node, and of all the others the kernel takes the one that looks most like the pod's. Ours are never chosen"
)
INTERNAL_LOCAL = (
    "without an endpoint on this node IPVS refuses, or takes the others if the port is reachable from outside"
)
EXTERNAL_LOCAL = "there is one list of endpoints for all clients, which are those of this node unless there are none"
RANGE_MISSING = (
    "ipset lists a range of one address without its /32, so kube-proxy takes it for another one, and in every sync "
    "deletes it and adds it again: what comes in between is dropped"
)
UDP_AT_ONCE = "a UDP endpoint that terminates is removed at once, and its flows with it"

IPVS_DIFFERENCES = tuple(
    Difference(lines, reason, f"IPVS mode: {documented}")
    for lines, reason, documented in (
        (Lines("2", "hairpin", "v", ("ipv6",)), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("3 4 5 7 16", "", "v", ("ipv6",)), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("6", "hairpin", "v", ("ipv6",)), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("9", "PB->C", "v", ("ipv6",)), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("42 43 52 59 62 67 68 75 103 104", "", "v", ("ipv6",)), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("66", "only IPv4 CIDRs", "v"), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("83", "primary IP", "v", ("ipv6",)), VIP_AS_SOURCE, "masquerades by a VIP"),
        (Lines("17 19 21 22", "", "v"), INTERNAL_LOCAL, "`internalTrafficPolicy: Local` without one"),
        (Lines("41 46 57 57a 72", "", "v"), EXTERNAL_LOCAL, "`externalTrafficPolicy: Local` without an endpoint"),
        (Lines("47", "gauge", "v"), EXTERNAL_LOCAL, "`externalTrafficPolicy: Local` without an endpoint"),
        (Lines("97", "", "v"), UDP_AT_ONCE, "looks once a minute"),
    )
)

DIFFERENCES = (
    *IPVS_DIFFERENCES,
    Difference(
        Lines("59", "", "v", ("ipv4",)), RANGE_MISSING, "IPVS mode: a source range of one address", now_and_then=True
    ),
    Difference(
        Lines("31", "headless label"),
        HEADLESS_LABEL,
        "a ClusterIP Service with the label `service.kubernetes.io/headless`",
    ),
    Difference(Lines("96", modes="in"), STALE_UDP, "UDP flows to a Service scaled to zero, or deleted, keep going"),
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


def always(case: Case) -> bool:
    """Tell whether what is known of this case can be seen every time."""
    return not any(known.now_and_then for known in DIFFERENCES if known.lines.include(case))


def beside_the_table(case: Case) -> str:
    """Why neither program does what the table says of this case; empty when both should."""
    return IN_A_SERVICE_CIDR if any(lines.include(case) for lines in BESIDE_THE_TABLE) else ""
