"""The lab as one thing: hosts, servers, client, manifests, the program under test; all gone at the end of the block."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.lab import manifests, topology
from tests.lab.addresses import FAMILIES, Family, Host, Plan, pod_subnet, small_cluster
from tests.lab.agent import Agent, eventually
from tests.lab.held import Held
from tests.lab.probe import Probe, Prober, Protocol, Report
from tests.lab.run import Run
from tests.lab.serving import Servers, listeners

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.lab.namespace import Namespace

#: What every pod's server listens on, and the ports on which the world answers for addresses that nobody has taken.
POD_PORT = 8080
WORLD_PORTS = (80, 81, POD_PORT)
ZONE_LABEL = "topology.kubernetes.io/zone"


class Cluster:
    """A running lab. Use as a context manager; `with Cluster() as cluster:` takes a second or two.

    `hosts` and `namespaces` are by name (`node-a`, `a1`, `client`, `world` ...; see addresses.small_cluster).
    """

    def __init__(self, plan: Plan | None = None, protocols: Sequence[Protocol] = ("tcp", "udp")) -> None:
        self.plan = plan or small_cluster()
        self.hosts: dict[str, Host] = {host.name: host for host in self.plan.hosts}
        self.protocols = tuple(protocols)
        self._run = Run()

    def __enter__(self) -> Cluster:
        self._run.__enter__()
        try:
            self.namespaces: dict[str, Namespace] = topology.build(self._run, self.plan)
            self.servers = Servers(self._run)
            self._serve()
            self._prober = Prober(self.namespaces)
            self._run.on_close(self._prober.close)
            self._wait_until_up()
            directory = self._run.directory / "manifests"
            directory.mkdir()
            self.manifests = manifests.ManifestDirectory(directory)
        except BaseException:
            self._run.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._run.close()

    @property
    def name(self) -> str:
        """The prefix of this lab's namespaces, as `ip netns` lists them."""
        return self._run.name

    @property
    def node(self) -> Namespace:
        """The namespace of the node under test."""
        return self.namespaces[self.plan.node_under_test]

    def address(self, host: str, family: Family, index: int = 0) -> str:
        return self.hosts[host].addresses[family][index]

    def probe(self, probe: Probe) -> Report:
        """Run one probe and wait for its report."""
        return self.probe_all([probe])[0]

    def probe_all(self, probes: Iterable[Probe]) -> list[Report]:
        """Run probes at the same time; reports in their order."""
        return self._prober.run(probes)

    def hold(self, source: str, address: str, port: int, protocol: Protocol = "tcp", **options: object) -> Held:
        """Open a conversation that stays open; options as for Held."""
        return Held(self.namespaces[source], address, port, protocol, **options)  # type: ignore[arg-type]

    def listen(self, host: str, ports: Iterable[int], protocols: Sequence[Protocol] = ("tcp", "udp")) -> None:
        """Make a host answer on more ports, on all its addresses."""
        self.servers.listen(listeners(host, self.namespaces[host], protocols, ports))

    def endpoint(self, host: str, family: Family, **conditions: object) -> manifests.Endpoint:
        """An endpoint at that host's primary address; conditions as for manifests.Endpoint."""
        where = self.hosts[host]
        return manifests.Endpoint(where.primary(family), node=where.node, **conditions)  # type: ignore[arg-type]

    def node_object(self, zone: str = "", **spec: object) -> manifests.Object:
        """The Node object of the node under test; `zone` becomes its zone label."""
        cidrs = [pod_subnet(1, family) for family in FAMILIES]
        labels = {ZONE_LABEL: zone} if zone else {}
        name = self.plan.node_under_test
        return manifests.node(name, self.hosts[name].addresses, cidrs, labels=labels, **spec)

    def agent(
        self,
        *arguments: str,
        program: Sequence[str] = (sys.executable, "-m", "kproxy", "run"),
        families: Sequence[Family] = FAMILIES,
        env: Mapping[str, str] | None = None,
    ) -> Agent:
        """The program under test on the node, not started yet: `program`, manifests, node name, then `arguments`."""
        own = ["--manifests", str(self.manifests.path), "--hostname-override", self.plan.node_under_test]
        return Agent(self.node, [*program, *own, *arguments], families, env)

    def _wait_until_up(self) -> None:
        """Wait until all reach the world and every node its pods: the kernel reports links as up with a delay."""
        (world,) = self.plan.of_kind("world")
        ways = [(host.name, world, WORLD_PORTS[0]) for host in self.plan.of_kind("node", "pod", "client")]
        ways += [(pod.node, pod, POD_PORT) for pod in self.plan.of_kind("pod")]
        waiting = [
            Probe(source, to.primary(family), port, timeout_s=0.1) for source, to, port in ways for family in FAMILIES
        ]

        def all_answered() -> bool:
            waiting[:] = [report.probe for report in self.probe_all(waiting) if not report.who]
            return not waiting

        eventually(all_answered, "the lab's links are up")

    def _serve(self) -> None:
        wanted = []
        for host in self.plan.of_kind("pod", "world"):
            ports = WORLD_PORTS if host.kind == "world" else (POD_PORT,)
            wanted += listeners(host.name, self.namespaces[host.name], self.protocols, ports)
        self.servers.listen(wanted)
