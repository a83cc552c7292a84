"""A Service scaled up and down while connections are made without a pause: who answered, and when it was noticed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab import Outcome
from tests.lab.run import scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from examples.demo.stage import Stage
    from examples.demo.steady import Moment, Steady

NOTICED_WITHIN_S = 10.0
#: So many connections in a row that fit the new state, from every client, and the old one is over.
IN_A_ROW = 24
#: How long it goes on after that, judged strictly.
LINGER_S = 0.8


@dataclass(slots=True)
class Step:
    """One change: from these pods to those, and what was seen from the write on.

    `first_s` and `last_s` are seconds from the write to the end of the first connection that only the new state can
    explain, and to the beginning of the last one that only the old state can; None where there was none.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    shares: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    refused: int = 0
    first_s: float | None = None
    last_s: float | None = None
    wrong: Counter[str] = field(default_factory=Counter)
    done: bool = False

    def problems(self) -> list[str]:
        """Say what was not as expected."""
        step = f"{len(self.before)} to {len(self.after)} pods"
        return [f"{step}: {text} ({number} times)" for text, number in sorted(self.wrong.items())]

    def add(self, moment: Moment, written: float, *, settled: bool) -> None:
        """Count one connection; once the change has settled only the new state is right."""
        self.connections += 1
        answer = moment.answer
        self.shares[answer.who] += bool(answer.who)
        self.refused += answer.outcome is Outcome.REFUSED
        new, old = _fits(moment, self.after), _fits(moment, self.before)
        if new and not old:
            self.first_s = min(moment.ended - written, self.first_s or NOTICED_WITHIN_S)
        elif old and not new:
            self.last_s = max(moment.began - written, self.last_s or 0.0)
        if new or (old and not settled):
            return
        self.wrong[f"{answer}{' after the change had settled' if settled and old else ''}"] += 1


def scale(
    stage: Stage, traffic: Sequence[Steady], step: Step, write: Callable[[], float], show: Callable[[], None]
) -> None:
    """Make a change by `write()`, which returns when it did, and fill `step` until all clients have noticed.

    Raises TimeoutError when they do not, `AgentFailed` and `Interrupted`.
    """
    watch = _Watch(stage, traffic, step, show)
    watch.written = write()
    stage.interrupt.wait_for(watch.look, f"{len(step.after)} pods answer", scaled(NOTICED_WITHIN_S))
    end = time.monotonic() + LINGER_S
    stage.interrupt.wait_for(lambda: watch.look() and time.monotonic() > end, "time passes", scaled(NOTICED_WITHIN_S))
    step.done = True
    show()
    stage.count(step.connections, step.problems())


class _Watch:
    """Looks at the steady traffic since a change."""

    def __init__(self, stage: Stage, traffic: Sequence[Steady], step: Step, show: Callable[[], None]) -> None:
        self.written = 0.0
        self._stage, self._traffic, self._step, self._show = stage, traffic, step, show
        self._at = [len(steady.moments) for steady in traffic]
        self._since: list[list[Moment]] = [[] for _ in traffic]
        self._settled = False

    def look(self) -> bool:
        """Count what is new; returns whether the change has settled."""
        self._stage.check()
        for number, steady in enumerate(self._traffic):
            news = steady.moments[self._at[number] :]
            self._at[number] += len(news)
            for moment in news:
                if moment.ended > self.written:
                    self._step.add(moment, self.written, settled=self._settled)
                    self._since[number].append(moment)
        self._settled = self._settled or all(self._noticed(moments) for moments in self._since)
        self._show()
        return self._settled

    def _noticed(self, moments: Sequence[Moment]) -> bool:
        """Tell whether the new state is all that this client sees lately, and it has seen every pod that is new."""
        added = set(self._step.after) - set(self._step.before)
        recent = moments[-IN_A_ROW:]
        return (
            len(recent) == IN_A_ROW
            and added <= {moment.answer.who for moment in moments}
            and all(_fits(moment, self._step.after) for moment in recent)
        )


def _fits(moment: Moment, pods: Collection[str]) -> bool:
    """Tell whether these pods being the endpoints explains what came of a connection."""
    if not pods:
        return moment.answer.outcome is Outcome.REFUSED
    return moment.answer.who in pods
