"""Acts out the table for one mode: one lab, the program started once per configuration, hundreds of flows at a time."""

from __future__ import annotations

import textwrap
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyroute2 import NFCTSocket

from tests.flows.configs import ALWAYS
from tests.flows.expect import differences
from tests.flows.line import Elsewhere, Flow, Scenario, why_not
from tests.flows.scene import Scene, addresses, make_probe
from tests.flows.seen import Seen
from tests.flows.table import ENTRIES, Entry
from tests.lab import Cluster
from tests.lab.addresses import UNALLOCATED_IPS
from tests.lab.manifests import service_cidr
from tests.lab.run import scaled
from tests.lab.topology import add_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.flows.configs import Config
    from tests.flows.modes import Mode
    from tests.lab import Agent, Family
    from tests.lab.probe import Probe, Protocol

AT_THE_SAME_TIME = 16
#: Flows whose packets are under way together. A slow machine plays fewer: it would be late for the last ones.
FLOWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table in one mode and family: one test."""

    mode: Mode
    family: Family
    entry: Entry

    @property
    def config(self) -> str:
        assert not isinstance(self.entry.line, Elsewhere)
        return self.entry.line.config

    @property
    def id(self) -> str:
        return f"{self.mode.name}-{self.family}-{self.entry.line.row}-{self.entry.line.label}"


class Stage:
    """The lab of one mode. `play()` acts out cases of one configuration; outcomes are in `failures` by case id."""

    def __init__(self, mode: Mode, protocols: tuple[Protocol, ...]) -> None:
        self.mode = mode
        self.protocols = protocols
        #: An empty text is a success.
        self.failures: dict[str, str] = {}
        #: What became of each probe of a Flow, whatever was expected.
        self.seen: dict[str, tuple[Seen, ...]] = {}
        self._cluster = Cluster(protocols=protocols)
        self._agent: Agent | None = None
        self._listening: set[tuple[str, int]] = set()

    def open(self) -> None:
        self.cluster = self._cluster.__enter__()

    def close(self) -> None:
        if self._agent:
            self._agent.stop()
        self._cluster.__exit__(None, None, None)

    def play(self, config: Config, cases: list[Case]) -> None:
        """Start the program under test as `config` says and act out `cases`, all of which are of that configuration."""
        try:
            agent = self._prepare(config)
        except Exception as error:  # noqa: BLE001 (the boundary of one configuration: all its cases fail)
            told = str(error) if isinstance(error, RuntimeError) else traceback.format_exc()
            head = f"the configuration {config.name!r} could not be set up"
            self.failures |= {case.id: f"{head}, see {cases[0].id}" for case in cases}
            self.failures[cases[0].id] = f"{head}: {told}"
            return
        flows = [case for case in cases if isinstance(case.entry.line, Flow)]
        at_once = max(1, int(FLOWS_AT_ONCE / scaled(1)))
        for start in range(0, len(flows), at_once):
            self._flows(flows[start : start + at_once], agent)
        scenarios = [(case, line) for case in cases if isinstance(line := case.entry.line, Scenario)]
        together = [(case, line) for case, line in scenarios if not line.alone]
        pool = ThreadPoolExecutor(AT_THE_SAME_TIME)
        try:
            list(pool.map(lambda one: self._scenario(one[0], one[1], agent, config), together))
        finally:
            # After a Ctrl-C nobody waits for those under way: they end when the lab is gone.
            pool.shutdown(wait=False, cancel_futures=True)
        for case, line in scenarios:
            if line.alone:
                self._scenario(case, line, agent, config)
        if not agent.running:
            for case in cases:
                self.failures[case.id] = self.failures[case.id] or f"the program ended early\n{agent.log_tail()}"

    def _prepare(self, config: Config) -> Agent:
        """A clean node, all objects of the configuration (whichever cases were selected), and the program, ready."""
        if self._agent:
            self._agent.stop()
        node, manifests = self.cluster.node, self.cluster.manifests
        self.mode.reset(node)
        node.call(_forget_connections)
        manifests.clear()
        manifests.write("node", [self.cluster.node_object(config.zone)])
        # Only the range of row 26, so that what row 31 gives no rules to is not dropped as unallocated.
        manifests.write("service-cidr", [service_cidr("unallocated", list(UNALLOCATED_IPS.values()))])
        env: dict[str, str] = {}
        if config.stuck:
            env, _ = self.mode.obstruct(manifests.path.parent)
        entries = [entry for entry in ENTRIES if self._belongs(entry, config)]
        for entry in entries:
            self._furnish(entry)
        agent = self.cluster.agent(*self.mode.arguments, *ALWAYS, *config.arguments, env=env)
        self._agent = agent
        for scene in (
            self._scene(e, f, agent, config) for e in entries if isinstance(e.line, Scenario) for f in e.deployed
        ):
            scene.write()
        agent.start()
        agent.wait_ready()
        return agent

    def _belongs(self, entry: Entry, config: Config) -> bool:
        line = entry.line
        if isinstance(line, Elsewhere) or line.config != config.name or why_not(line, self.mode.letter):
            return False
        return isinstance(line, Scenario) or set(line.protocols) <= set(self.protocols)

    def _furnish(self, entry: Entry) -> None:
        """What a Flow needs beside the program: its objects, servers on its node port, its address on the node."""
        line = entry.line
        if not isinstance(line, Flow):
            return
        objects = [made for one in entry.distinct() for made in one.objects(self.cluster)]
        if objects:
            self.cluster.manifests.write(entry.place.name, objects)
        there = (line.listen, entry.place.node_port)
        if line.listen and there not in self._listening:
            self.cluster.listen(*there[:1], [there[1]], line.protocols)
            self._listening.add(there)
        if line.source == "A-VIP":
            for family in line.families:
                add_address(self.cluster.node, "eth0", family, entry.place.load_balancer_ip(family))

    def _scene(self, entry: Entry, family: Family, agent: Agent, config: Config) -> Scene:
        obstruction = self.cluster.manifests.path.parent / "obstructed"
        return Scene(self.cluster, agent, self.mode, config, family, entry.deployed[family], obstruction)

    # --- acting out -------------------------------------------------------------------------------------------

    def _flows(self, cases: Iterable[Case], agent: Agent) -> None:
        """All these flows at once; the time-outs of those that are dropped pass together."""
        probes: list[tuple[Case, Probe]] = []
        for case in cases:
            probes += [(case, probe) for probe in self._probes(case)]
        reports = self.cluster.probe_all(probe for _, probe in probes)
        found: dict[str, list[str]] = {}
        seen: dict[str, list[Seen]] = {}
        for (case, probe), report in zip(probes, reports, strict=True):
            line = case.entry.line
            assert isinstance(line, Flow)
            where = addresses(self.cluster, line.source, case.family, probe.source_address, probe.address)
            wrong = differences(report, line.expected, where)
            found.setdefault(case.id, [])
            seen.setdefault(case.id, []).append(Seen.of(report))
            if wrong:
                told = textwrap.indent(str(report), "      ")
                head = f"{probe.protocol} to {probe.address} port {probe.port}: {'; '.join(wrong)}"
                found[case.id].append(f"  {head}; seen:\n{told}")
        self.seen |= {case_id: tuple(each) for case_id, each in seen.items()}
        for case in cases:
            wrong = found[case.id]
            self.failures[case.id] = self._tell(case, "\n".join(wrong), agent) if wrong else ""

    def _probes(self, case: Case) -> list[Probe]:
        line, place = case.entry.line, case.entry.place
        assert isinstance(line, Flow)
        candidates = len(line.service.endpoints.split()) if line.service else 0
        what = (line.source, line.target, line.expected, candidates)
        return [make_probe(self.cluster, place, case.family, *what, protocol) for protocol in line.protocols]

    def _scenario(self, case: Case, line: Scenario, agent: Agent, config: Config) -> None:
        scene = self._scene(case.entry, case.family, agent, config)
        self.failures[case.id] = self._tell(case, _played(lambda: line.play(scene)), agent)

    def _tell(self, case: Case, wrong: str, agent: Agent) -> str:
        """The whole story of a failure: the row, what the reference expects, what was seen, the program's log."""
        if not wrong:
            return ""
        line = case.entry.line
        assert not isinstance(line, Elsewhere)
        services = [f"  {one.place.name}: {one.svc}" for one in case.entry.deployed[case.family]]
        note = [f"  note: {line.note}"] if line.note else []
        log = textwrap.indent(agent.log_tail(), "      ")
        head = f"row {line.row}, {line.label} ({case.mode.name}, {case.family}, configuration {line.config})"
        return "\n".join(
            [head, *services, f"  expected: {line.expected}", *note, wrong, f"  the program's last lines:\n{log}"]
        )


def _played(play: Callable[[], None]) -> str:
    """What went wrong in a scenario; empty when nothing did."""
    try:
        play()
    except (AssertionError, TimeoutError) as error:
        return f"  {error or traceback.format_exc()}"
    except Exception:  # noqa: BLE001 (the boundary of one scenario: the others go on)
        return textwrap.indent(traceback.format_exc(), "  ")
    return ""


def _forget_connections() -> None:
    with NFCTSocket() as conntrack:
        conntrack.flush()
