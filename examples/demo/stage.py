"""The stage: the cluster, the agent on node-a, and the directory of manifests that it follows."""

from __future__ import annotations

import contextlib
import http.client
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.demo import manifests, topology
from examples.demo.tables import NODE_IPV4
from tests.lab import FAMILIES, POD_CIDRS, Cluster
from tests.lab.run import NETNS, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from examples.demo.signals import Interrupt
    from tests.lab import Agent, Family

READY_WITHIN_S = 30.0
#: conntrack's sizes and timeouts belong to the machine: a network namespace has none of its own to set.
AGENT_FLAGS = (
    "--cluster-cidr",
    ",".join(POD_CIDRS.values()),
    "--conntrack-max-per-core=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
    f"--dns-bind-address={NODE_IPV4}:53",
)
SAVE = {
    "ipv4": ("iptables-nft-save", "iptables-legacy-save"),
    "ipv6": ("ip6tables-nft-save", "ip6tables-legacy-save"),
}


class AgentFailed(Exception):
    """The agent did not start, or ended. `log` is the end of what it wrote."""

    def __init__(self, what: str, log: str) -> None:
        self.log = log
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line decided. `program` is the agent's command, without the flags that Stage gives it."""

    stories: tuple[str, ...]
    variant: str = "auto"
    program: tuple[str, ...] = (sys.executable, "-m", "kproxy", "run")


class Stage:
    """Everything the scenes play on. Use as a context manager; at its end nothing of it is left."""

    def __init__(self, settings: Settings, interrupt: Interrupt) -> None:
        self.settings = settings
        self.interrupt = interrupt
        self.cluster = Cluster(topology.shop())
        self.agent: Agent
        self.connections = 0
        self.problems: list[str] = []
        self.namespaces = 0

    def __enter__(self) -> Stage:
        self.interrupt.check()
        self.cluster.__enter__()
        try:
            self.namespaces = len(self.left_behind())
            self.interrupt.check()
            topology.serve(self.cluster)
            manifests.merge(self.settings.stories, self.cluster.manifests.path)
        except BaseException:
            self.cluster.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cluster.__exit__(kind, error, traceback)

    def start_agent(self) -> float:
        """Start the agent and wait until it is ready; returns how many seconds that took. Raises `AgentFailed`."""
        flags = (*AGENT_FLAGS, "--iptables-variant", self.settings.variant)
        self.agent = self.cluster.agent(*flags, program=self.settings.program)
        began = time.monotonic()
        try:
            self.agent.start()
            self.interrupt.wait_for(self._ready, "the agent is ready", scaled(READY_WITHIN_S))
        except (TimeoutError, OSError) as error:
            raise AgentFailed(str(error), self.agent.log_tail()) from None
        return time.monotonic() - began

    def check(self) -> None:
        """Raise if the user wants it to end (`Interrupted`), or the agent has ended (`AgentFailed`)."""
        self.interrupt.check()
        if not self.agent.running:
            raise AgentFailed("the agent has ended", self.agent.log_tail())

    def plays(self, *stories: str) -> tuple[str, ...]:
        """Return those of `stories` that are on."""
        return tuple(story for story in stories if story in self.settings.stories)

    def set_endpoints(self, story: str, file: str, pods: Iterable[str]) -> float:
        """Write a story's slices with these pods as endpoints; returns the time.monotonic() just before."""
        contents = manifests.with_endpoints(
            manifests.documents(manifests.directory_of(story) / file), [self.cluster.hosts[pod] for pod in pods]
        )
        before = time.monotonic()
        manifests.replace_file(self.cluster.manifests.path / f"{story}-{file}", contents)
        return before

    def rules(self, family: Family) -> list[str]:
        """Return every iptables rule on node-a, of both variants."""
        rules = []
        for command in SAVE[family]:
            with contextlib.suppress(RuntimeError):  # this variant is not installed, or has no tables
                rules += [line for line in self.cluster.node.run(command).splitlines() if line.startswith("-A ")]
        return rules

    def left_behind(self) -> list[str]:
        """Return the cluster's network namespaces as they are now."""
        if not NETNS.is_dir():
            return []
        return sorted(path.name for path in NETNS.iterdir() if path.name.startswith(f"{self.cluster.name}-"))

    def count(self, connections: int, problems: Sequence[str]) -> None:
        """Add connections that were made, and what was not as expected, to the account of the whole demo."""
        self.connections += connections
        self.problems += problems

    def _ready(self) -> bool:
        self.check()
        try:
            return self.agent.health().status == 200 and all(self.agent.last_sync()[family] for family in FAMILIES)
        except (OSError, http.client.HTTPException):
            return False
