"""One lab per mode for the session; all selected flows of a configuration are played when the first is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flows.configs import CONFIGS
from tests.flows.sctp import PROTOCOLS
from tests.flows.stage import Case, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stages:
    """Opens a lab when its mode's turn comes, and closes it when the next one's does."""

    def __init__(self, selected: list[Case]) -> None:
        self._selected = selected
        self._stage: Stage | None = None

    def outcome(self, case: Case) -> str:
        """The failure of a case as text; empty when it went as the reference says."""
        stage = self._of(case)
        if case.id not in stage.failures:
            together = [one for one in self._selected if one.mode is case.mode and one.config == case.config]
            stage.play(CONFIGS[case.config], together)
        return stage.failures[case.id]

    def close(self) -> None:
        if self._stage:
            self._stage.close()
            self._stage = None

    def _of(self, case: Case) -> Stage:
        if self._stage is None or self._stage.mode is not case.mode:
            self.close()
            stage = Stage(case.mode, PROTOCOLS)
            stage.open()
            self._stage = stage
        return self._stage


@pytest.fixture(scope="session")
def stages(request: pytest.FixtureRequest) -> Iterator[Stages]:
    selected = [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "case" in item.callspec.params
    ]
    runnable = [case for case in selected if isinstance(case, Case)]
    made = Stages(runnable)
    yield made
    made.close()
