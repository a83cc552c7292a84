"""The kinds of lines of the flow table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.lab.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.flows.expect import Expectation
    from tests.flows.scene import Scene
    from tests.flows.services import Svc
    from tests.lab.probe import Protocol

MODES = {"i": "iptables", "n": "nftables", "v": "ipvs"}

#: PA: a pod on node A. PB: a pod on node B, whose packets to virtual addresses go by node A. A: a process on node A
#: that is bound to the node's second address, so that a kept source differs from a masqueraded one. A-LO: a process on
#: node A that leaves its address to the kernel. A-VIP: one that is bound to the LoadBalancer address. EXT, OUT: hosts
#: outside the cluster; where a Service has source ranges, EXT is in them and OUT is not.
Source = Literal["PA", "PB", "A", "A-LO", "A-VIP", "EXT", "OUT"]
#: C: the clusterIP; X: the externalIP; L: the LoadBalancer address; U: a cluster address nobody has; NA, NA2, NB: the
#: primary and second address of node A, and node B's; NP: the node port.
Target = Literal["C", "C:81", "X", "L", "U", "NA:NP", "NA2:NP", "NB:NP", "127.0.0.1:NP", "[::1]:NP"]


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow: who connects where, with which Service in place, and what becomes of it.

    `row` is the number in the reference, `text` its words in short, `modes` the letters of the modes it is given for.
    `listen` is the host on which a server listens on the node port itself: it answers where the proxy does not.
    """

    row: str
    text: str
    modes: str
    service: Svc | None
    source: Source
    target: Target
    expected: Expectation
    config: str = "default"
    families: tuple[Family, ...] = FAMILIES
    protocols: tuple[Protocol, ...] = ("tcp", "udp")
    listen: str = ""
    note: str = ""

    @property
    def services(self) -> tuple[Svc, ...]:
        return (self.service,) if self.service else ()

    @property
    def label(self) -> str:
        return f"{self.source}->{self.target} {self.text}" + (" (SCTP)" if self.protocols == ("sctp",) else "")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row that needs more than one packet: `play` acts it out for one family; AssertionError when it differs.

    Each family gets Services of its own, so that scenarios do not disturb each other and run at the same time, unless
    one is `alone`: it changes something that all of them see.
    """

    row: str
    text: str
    modes: str
    services: tuple[Svc, ...]
    play: Callable[[Scene], None]
    expected: str
    config: str = "default"
    families: tuple[Family, ...] = FAMILIES
    alone: bool = False
    note: str = ""

    @property
    def label(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A row that no mode can show in this lab yet, and why."""

    row: str
    text: str
    modes: str
    reason: str
    note: str = ""

    @property
    def label(self) -> str:
        return self.text


Line = Flow | Scenario | Elsewhere


def row_number(row: str) -> int:
    """The row as a number for addresses and ports: "57a" is 157."""
    return int(row[:-1]) + 100 if row.endswith("a") else int(row)


def why_not(line: Line, mode: str) -> str:
    """Why a line does not apply to a mode (one of the letters of MODES); empty when it does."""
    if isinstance(line, Elsewhere):
        return line.reason
    if mode in line.modes:
        return ""
    given = " and ".join(MODES[letter] for letter in line.modes)
    return f"the reference gives this outcome for {given} only"
