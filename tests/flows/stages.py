"""One stage per mode: opened when its mode's turn comes, closed when the next one's does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import pytest

from tests.flows.configs import CONFIGS
from tests.flows.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.flows.modes import Mode

S = TypeVar("S", bound=Stage)


class Stages(Generic[S]):
    """Plays all selected cases of a configuration when the first of them is asked for. `make` makes a mode's stage."""

    def __init__(self, selected: Iterable[Case], make: Callable[[Mode], S]) -> None:
        self._selected = list({case.id: case for case in selected}.values())
        self._make = make
        self._mode: Mode | None = None
        self._stage: S | None = None

    def played(self, case: Case) -> S:
        """The stage, on which the case has been played."""
        stage = self._of(case.mode)
        if case.id not in stage.failures:
            together = [one for one in self._selected if one.mode is case.mode and one.config == case.config]
            stage.play(CONFIGS[case.config], together)
        return stage

    def close(self) -> None:
        if self._stage:
            self._stage.close()
            self._stage = self._mode = None

    def _of(self, mode: Mode) -> S:
        if self._stage is None or self._mode is not mode:
            self.close()
            stage = self._make(mode)
            stage.open()
            self._stage, self._mode = stage, mode
        return self._stage


def selected_cases(items: Iterable[pytest.Item]) -> list[Case]:
    """The cases of those tests that were selected."""
    params = [item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    return [case for one in params if isinstance(case := one.get("case"), Case)]
