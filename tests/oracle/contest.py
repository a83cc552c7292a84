"""kube-proxy and kproxy in turn, on the same objects in the same lab, each reading them from the API server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from unittest import mock

from tests.flows import scene
from tests.flows.modes import Iptables, Ipvs, Nftables
from tests.flows.sctp import PROTOCOLS
from tests.flows.stage import Stage
from tests.lab import FAMILIES
from tests.lab.agent import eventually
from tests.oracle.cluster import KPROXY, OracleCluster
from tests.oracle.kube_proxy import KubeProxyIptables, KubeProxyIpvs, KubeProxyNftables
from tests.uml.needs import ipvs_missing

if TYPE_CHECKING:
    from tests.flows.configs import Config
    from tests.flows.modes import Mode
    from tests.flows.seen import Seen
    from tests.flows.stage import Case
    from tests.lab import Agent
    from tests.oracle.cluster import Program
    from tests.oracle.kube_proxy import KubeProxy

Who = Literal["kube-proxy", "kproxy"]
#: kube-proxy refuses TCP by ICMP. Over IPv6 the kernel's TCP believes it only when the SYN is repeated, after a second.
REFUSED_WITHIN_S = 3.0
#: What kube-proxy logs, once for each family, when it learns where its node is.
LEARNT = "Updated proxier node topology labels"


@dataclass(frozen=True, slots=True)
class Pairing:
    """kube-proxy in one of its modes, and kproxy in the mode that takes its place."""

    kube_proxy: KubeProxy
    kproxy: Mode

    def why_not(self) -> str:
        """Why it can't be played in this kernel; empty when it can."""
        return ipvs_missing() if self.kproxy.letter == "v" else ""


#: Another mode is another line here.
PAIRINGS: tuple[Pairing, ...] = (
    Pairing(KubeProxyIptables("nft"), Iptables("nft")),
    Pairing(KubeProxyNftables(), Nftables()),
    Pairing(KubeProxyIpvs(), Ipvs()),
)


@dataclass(slots=True)
class Turn:
    """One of the two programs: how it runs, and what came of the cases, by the case's id."""

    mode: Mode
    program: Program
    failures: dict[str, str] = field(default_factory=dict)
    seen: dict[str, tuple[Seen, ...]] = field(default_factory=dict)


class Contest(Stage):
    """Plays cases with both programs; `failures` and `seen` are kube-proxy's, `turns` has both.

    Refusals get the time that kube-proxy's need.
    """

    def __init__(self, pairing: Pairing) -> None:
        super().__init__(pairing.kube_proxy, PROTOCOLS)
        self.turns: dict[Who, Turn] = {
            "kproxy": Turn(pairing.kproxy, KPROXY),
            "kube-proxy": Turn(pairing.kube_proxy, pairing.kube_proxy.program()),
        }
        self._lab = OracleCluster(PROTOCOLS)
        self._cluster = self._lab
        self._patience = mock.patch.object(scene, "REFUSED_WITHIN_S", REFUSED_WITHIN_S)

    def open(self) -> None:
        super().open()
        self._patience.start()

    def close(self) -> None:
        self._patience.stop()
        super().close()

    def play(self, config: Config, cases: list[Case]) -> None:
        """Each program once; the second one finds the node as the first one did."""
        for turn in self.turns.values():
            self.mode, self.failures, self.seen = turn.mode, turn.failures, turn.seen
            self._lab.program = turn.program
            super().play(config, cases)

    def _prepare(self, config: Config) -> Agent:
        agent = super()._prepare(config)
        if self._lab.program is not KPROXY and config.zone:
            self._tell_zone(agent, config.zone)
        return agent

    def _tell_zone(self, agent: Agent, zone: str) -> None:
        """See to it that kube-proxy knows its zone.

        1.36 registers for the labels of its Node before it says who is to hear of them (pkg/proxy/config,
        NewNodeTopologyConfig and RegisterEventHandler). Labels that come in between it never hears of, until they
        change.
        """

        def heard() -> int:
            lines = agent.log.read_text(errors="replace").splitlines()
            return sum(LEARNT in line and f'"{zone}"' in line for line in lines)

        before = heard()
        if before >= len(FAMILIES):
            return
        for one in ("elsewhere", zone):
            self._lab.manifests.write("node", [self._lab.node_object(one)])
        eventually(lambda: heard() >= before + len(FAMILIES), "kube-proxy knows its zone")
        since = time.time()
        eventually(lambda: min(agent.last_sync().values()) > since, "kube-proxy has synced since")

    def difference(self, case: Case) -> str:
        """What kproxy does otherwise than kube-proxy, as text; empty when nothing.

        Of a scenario it is only known whether it went as the table says.
        """
        theirs, ours = self.turns["kube-proxy"], self.turns["kproxy"]
        if bool(theirs.failures[case.id]) != bool(ours.failures[case.id]):
            return _told("as the table says", theirs.failures[case.id], ours.failures[case.id])
        if theirs.seen.get(case.id) == ours.seen.get(case.id):
            return ""
        return _told("", *("\n".join(map(str, turn.seen[case.id])) for turn in (theirs, ours)))


def _told(otherwise: str, theirs: str, ours: str) -> str:
    return f"kube-proxy:\n{theirs or otherwise}\nkproxy:\n{ours or otherwise}"
