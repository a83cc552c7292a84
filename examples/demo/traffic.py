"""Makes the connections of a table, in rounds, so that there is something to look at between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.demo.expect import Expected, Line, Tally, connections_for
from tests.lab import Outcome, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from examples.demo.stage import Stage
    from tests.lab import Cluster

ROUNDS = 8
#: Long enough for a SYN to be repeated once: a single lost packet is no refusal.
SILENCE_S = 1.2
#: A line is given up after so many connections that came to a bad end.
BAD_ENDS = 3


@dataclass(slots=True)
class _Plan:
    """What is left to do for one line."""

    tally: Tally
    own: tuple[str, ...]
    left: int


def play(stage: Stage, lines: Iterable[Line], show: Callable[[list[Tally]], None]) -> list[Tally]:
    """Make the connections of all lines at the same time; `show` is called after each round with all tallies.

    The result is entered into the stage's account. Raises `AgentFailed` and `Interrupted`.
    """
    plans = [_plan(stage.cluster, line) for line in lines]
    tallies = [plan.tally for plan in plans]
    show(tallies)
    for number in range(ROUNDS):
        _round(stage.cluster, plans, ROUNDS - number)
        stage.check()
        show(tallies)
    for tally in tallies:
        tally.complete = True
        line = tally.line
        where = f"{line.source} to {line.way} {line.destination}"
        stage.count(tally.connections, [f"{where}: {problem}" for problem in tally.problems])
    show(tallies)
    return tallies


def _plan(cluster: Cluster, line: Line) -> _Plan:
    addresses = cluster.hosts[line.source].addresses[line.family]
    own = addresses if line.expected.sticky else addresses[:1]
    return _Plan(Tally(line, cluster.address("node-a", line.family)), own, connections_for(line.expected))


def _round(cluster: Cluster, plans: list[_Plan], rounds_left: int) -> None:
    """One round: an equal part of what each line has left. Drops are waited for together, in the last one."""
    probes, owners = [], []
    for plan in plans:
        expected, tally = plan.tally.line.expected, plan.tally
        last_only = expected.outcome is Outcome.TIMEOUT
        number = -(-plan.left // rounds_left) if not last_only or rounds_left == 1 else 0
        if not number or _bad_ends(tally, expected) >= BAD_ENDS:
            continue
        plan.left -= number
        for own in plan.own:
            probes.append(_probe(tally.line, own, number))
            owners.append((tally, own))
    for (tally, own), report in zip(owners, cluster.probe_all(probes), strict=True):
        for answer in report.answers:
            tally.add(own, answer)


def _probe(line: Line, own: str, number: int) -> Probe:
    silent = line.expected.outcome is Outcome.TIMEOUT
    return Probe(
        line.source,
        line.address,
        line.port,
        line.protocol,
        count=number,
        source_address=own if line.expected.sticky else None,
        timeout_s=SILENCE_S if silent else 3.0,
    )


def _bad_ends(tally: Tally, expected: Expected) -> int:
    return sum(number for outcome, number in tally.outcomes.items() if outcome is not expected.outcome)
