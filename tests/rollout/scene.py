"""A cluster whose node gets its Service proxy from a DaemonSet, and clients that connect all the while."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.controlplane.traffic import Way
from tests.dns.server.load import Load
from tests.lab import FAMILIES, POD_CIDRS
from tests.lab.agent import METRICS_PORT, eventually
from tests.lab.httpget import get
from tests.takeover.gaps import Gaps, TimedTraffic
from tests.takeover.handover import CLUSTER_IPS, COMES, LEAVES, NODE_PORT, STAYS, objects, who_answers
from tests.takeover.masters import kinds, make_bare

if TYPE_CHECKING:
    from tests.controlplane import ControlPlane
    from tests.lab import Cluster
    from tests.rollout.kubectl import Kubectl

MODES = ("iptables", "nftables")
#: The kinds of rules that kproxy makes in each mode.
RULES = {"iptables": {"iptables-nft"}, "nftables": {"table kproxy"}}
CLUSTER_CIDR = ",".join(POD_CIDRS[family] for family in FAMILIES)
#: In a proxy's configuration: the sysctls of conntrack are the machine's, not the lab's.
LEAVE_CONNTRACK = "conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}"
#: As deploy/dns/daemonset.yaml has it.
CLUSTER_DNS = "10.96.0.10"
SEEN_WITHIN_S = 30.0


class Scene:
    """A Service with two endpoints, by its addresses and by node ports, and what its clients see."""

    def __init__(self, cluster: Cluster, control: ControlPlane, kubectl: Kubectl, gaps: Gaps) -> None:
        self.cluster = cluster
        self.server = control.server
        self.kubectl = kubectl
        self._gaps = gaps
        nodes = [cluster.address("node-a", family) for family in FAMILIES]
        self._ways = [*(Way("a1", one, 80) for one in CLUSTER_IPS), *(Way("client", one, NODE_PORT) for one in nodes)]

    def traffic(self) -> TimedTraffic:
        return TimedTraffic(self.cluster, self._ways, {STAYS, LEAVES, COMES})

    def end(self, what: str, traffic: TimedTraffic) -> None:
        """AssertionError when anything of that traffic was lost; else note what it was like."""
        traffic.check()
        self._gaps.add(what, traffic)

    def write_service(self, endpoint: str) -> None:
        """Make the Service, with the endpoint that stays and this one."""
        self.cluster.manifests.write("switch", objects(self.cluster, STAYS, endpoint))

    def queries(self) -> Load:
        """A pod that asks the cluster's DNS for the Service all the while."""
        return Load(self.cluster.namespaces["a1"], CLUSTER_DNS, "switch.lab.svc.cluster.local", rate=500, sockets=100)

    def change_endpoints(self, before: str, after: str) -> None:
        """One endpoint leaves and another one comes, and the clients see it: what runs now has the rules in hand."""
        self.write_service(after)
        wanted = [{STAYS, after}] * len(self._ways)
        what = f"{after} answers, and {before} no more"
        eventually(lambda: who_answers(self.cluster, self._ways) == wanted, what, SEEN_WITHIN_S)

    def note(self, text: str) -> None:
        """For the end of the run."""
        self._gaps.note(text)

    def rules(self) -> set[str]:
        return kinds(self.cluster.node)

    def wait_for_rules(self, wanted: set[str]) -> None:
        eventually(lambda: self.rules() == wanted, f"only {wanted} are left", SEEN_WITHIN_S)

    def running(self) -> str:
        """The version of kproxy that answers on the node; "" when nothing does, or what does is not kproxy."""
        try:
            page = get(self.cluster.node, "127.0.0.1", METRICS_PORT, "/metrics").body
        except OSError:
            return ""
        found = re.search(r'^kproxy_build_info\{.*\bversion="([^"]+)"', page, re.MULTILINE)
        return found[1] if found else ""

    def clear(self) -> None:
        """No DaemonSet, no Pod, no rule, no Service."""
        # No garbage collector runs that would take away what a DaemonSet leaves behind.
        self.kubectl.delete_all("daemonsets", "controllerrevisions", "pods")
        self.cluster.manifests.clear()
        make_bare(self.cluster.node)
