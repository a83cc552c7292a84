"""The demo's tables: who connected to what and who answered, and what scaling did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from examples.demo.topology import NODE, PODS_A, PODS_B, ZONES
from tests.lab import Outcome

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from examples.demo.expect import Tally
    from examples.demo.scaling import Step
    from tests.lab import Plan

ON_A, ON_B, ELSEWHERE = "cyan", "magenta", "yellow"
#: What comes of a connection that is not answered, and the source address that a server sees, in the table's words.
WORDS = {Outcome.REFUSED: "refused at once", Outcome.TIMEOUT: "dropped, no answer"}
SEEN_AS = {"kept": "itself", "masqueraded": NODE}


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table in the demo's style; the columns in `right` are numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for column in columns:
        number = column in right
        made.add_column(column, justify="right" if number else "left", no_wrap=number or not column, overflow="fold")
    return made


def host(name: str, more: str = "") -> Text:
    """Return a host's name in the colour of where it is, and `more` without colour."""
    where = ON_A if name in PODS_A else ON_B if name in PODS_B else ELSEWHERE
    return Text.assemble((name, where), more)


def hosts(plan: Plan) -> Table:
    """Return who is where."""
    made = table("where", "addresses", "who")
    for node in plan.of_kind("node"):
        pods = plan.pods_of(node.name)
        subnet = pods[0].primary("ipv4").rpartition(".")[0] + ".0/24"
        made.add_row(f"{node.name}, zone {ZONES[node.name]}", subnet, _names(pod.name for pod in pods))
    machines = plan.of_kind("client")
    made.add_row("outside the cluster", "172.18.0.0/24", _names(machine.name for machine in machines))
    return made


def connections(tallies: Sequence[Tally], what: str = "", *, ports: bool = False) -> RenderableType:
    """Return the table of connections, with what is wrong below it.

    `what` is the heading of the lines' notes, "" for none; `ports` adds the port on which the pods were reached.
    """
    extra = ["on"] if ports else []
    made = table("from", "to", "address", *[what] * bool(what), "answered by", *extra, "seen as", "", right=extra)
    for tally in tallies:
        line = tally.line
        cells = [host(line.source), Text(line.way), Text(line.destination), *[Text(line.note)] * bool(what)]
        cells += [_answers(tally), *[Text(str(line.expected.port) if tally.shares else "")] * ports]
        seen = ", ".join(sorted(SEEN_AS.get(source, source) for source in tally.sources))
        made.add_row(*cells, Text(seen), _mark(tally.complete, tally.as_expected))
    wrong = [
        Text(f"  {tally.line.source} to {tally.line.destination}: {problem}", style="red")
        for tally in tallies
        for problem in tally.problems
    ]
    return Group(made, *wrong)


def steps(done: Sequence[Step], pods: Sequence[str]) -> RenderableType:
    """Return the table of a Service that is scaled: a line for each step, a column for each pod."""
    numbers = [*pods, "refused", "wrong", "first new", "last old"]
    made = table("pods", *numbers, "", right=numbers)
    for step in done:
        cells = [f"{len(step.before)} to {len(step.after)}"]
        cells += [str(number or "-") for number in (*(step.shares[pod] for pod in pods), step.refused)]
        cells += [str(sum(step.wrong.values()) or "-"), _milliseconds(step.first_s), _milliseconds(step.last_s)]
        made.add_row(*cells, _mark(step.done, not step.wrong))
    wrong = [Text(f"  {problem}", style="red") for step in done for problem in step.problems()]
    return Group(made, *wrong)


def _names(names: Iterable[str]) -> Text:
    return Text("  ").join(host(name) for name in names)


def _answers(tally: Tally) -> Text:
    if tally.shares:
        return _shares(tally.shares)
    outcome = next(iter(tally.outcomes), None)
    if outcome is None:
        return Text("...", style="dim")
    return Text(WORDS.get(outcome, outcome.value), style="dim" if tally.as_expected else "red")


def _shares(shares: Counter[str]) -> Text:
    return Text("  ").join(host(who, f" {number}") for who, number in sorted(shares.items()))


def _mark(done: bool, good: bool) -> Text:
    if not good:
        return Text("NO", style="bold red")
    return Text("ok", style="green") if done else Text("..", style="dim")


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f} ms"
