"""One lab per mode for the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flows.sctp import PROTOCOLS
from tests.flows.stage import Stage
from tests.flows.stages import Stages, selected_cases

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def stages(request: pytest.FixtureRequest) -> Iterator[Stages[Stage]]:
    made = Stages(selected_cases(request.session.items), lambda mode: Stage(mode, PROTOCOLS))
    yield made
    made.close()
