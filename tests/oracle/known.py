"""What is known to differ between kube-proxy of the version under test and the table, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.flows.line import Elsewhere

if TYPE_CHECKING:
    from tests.flows.line import Line
    from tests.flows.stage import Case


@dataclass(frozen=True, slots=True)
class Known:
    """Lines of the table that kube-proxy does not follow: those of `row` whose label has `text` in it.

    `documented` is how its row in docs/differences.md begins.
    """

    row: str
    reason: str
    documented: str
    text: str = ""
    family: str = ""
    variant: str = ""

    def fits(self, case: Case) -> bool:
        line = case.entry.line
        assert not isinstance(line, Elsewhere)
        return (
            self.row == line.row
            and self.text in line.label
            and self.family in ("", case.family)
            and (not self.variant or case.mode.name.endswith(self.variant))
        )


STALE_UDP = "1.36 leaves the conntrack entries of UDP flows to a Service without endpoints, or deleted; ours go"
NAT_FLUSHED = (
    "kube-proxy's canary is in mangle alone, so it finds out by the full sync of the next hour; ours is in nat too"
)
HEADLESS_LABEL = (
    "kube-proxy 1.36 asks for EndpointSlices without the headless label, but for Services with any label that have a "
    "clusterIP: a ClusterIP Service with that label has no endpoints and refuses. The table says it has no rules"
)

DIFFERENCES = (
    Known(
        "31", HEADLESS_LABEL, "a ClusterIP Service with the label `service.kubernetes.io/headless`", "headless label"
    ),
    Known("96", STALE_UDP, "UDP flows to a Service scaled to zero, or deleted, keep going"),
    Known("102", NAT_FLUSHED, "looks for its canary in `mangle` only"),
)


#: With an API server every clusterIP is in a ServiceCIDR, and nftables mode drops what goes to an address there that
#: no Service has. Row 26 shows that; these rows need an address that nobody cares about. (Row, text of the label.)
IN_A_SERVICE_CIDR = (("31", "->C"), ("96", "Service deleted"))
#: 1.36 does not know the gate.
NOT_IN_THIS_VERSION = ("81",)


def why_not_here(line: Line, mode: str) -> str:
    """Why a line of the table can't be shown with an API server and this kube-proxy; empty when it can."""
    if mode != "n":
        return ""
    if any(line.row == row and text in line.label for row, text in IN_A_SERVICE_CIDR):
        return "the address is in a ServiceCIDR"
    return "kube-proxy 1.36 has not got it" if line.row in NOT_IN_THIS_VERSION else ""


def reason(case: Case) -> str:
    """Why kube-proxy does not do what the table says of this case; empty when it should."""
    return "; ".join(known.reason for known in DIFFERENCES if known.fits(case))
