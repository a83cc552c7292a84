"""The real kube-proxy does what the flow table says of it, but for the differences that are known.

pytest tests/oracle                  all of it
pytest tests/oracle -k "ipv4-17-"    one row
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flows.configs import CONFIGS
from tests.flows.stage import Case
from tests.oracle.cases import MODES, cases_of
from tests.oracle.known import DIFFERENCES, reason
from tests.oracle.kube_proxy import KubeProxy, OracleStage
from tests.peers import require

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = [case for mode in MODES for case in cases_of(mode)]


class Oracle:
    """Opens a lab when a variant's turn comes; all selected cases of a configuration are played with the first."""

    def __init__(self, selected: list[Case]) -> None:
        self._selected = selected
        self._stage: OracleStage | None = None

    def failure(self, case: Case) -> str:
        stage = self._of(case)
        if case.id not in stage.failures:
            together = [one for one in self._selected if one.mode is case.mode and one.config == case.config]
            stage.play(CONFIGS[case.config], together)
        return stage.failures[case.id]

    def close(self) -> None:
        if self._stage:
            self._stage.close()
            self._stage = None

    def _of(self, case: Case) -> OracleStage:
        if self._stage is None or self._stage.mode is not case.mode:
            self.close()
            assert isinstance(case.mode, KubeProxy)
            stage = OracleStage(case.mode)
            stage.open()
            self._stage = stage
        return self._stage


@pytest.fixture(scope="module")
def oracle(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    require("etcd", "kube-apiserver", "kube-proxy")
    items = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module
    ]
    params = [item.callspec.params.get("case") for item in items if hasattr(item, "callspec")]
    made = Oracle([case for case in params if isinstance(case, Case)])
    yield made
    made.close()


@pytest.mark.root
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_kube_proxy_does_what_the_table_says(case: Case, oracle: Oracle) -> None:
    failure, known = oracle.failure(case), reason(case)
    if failure and known:
        pytest.xfail(known)
    if known:
        pytest.fail(f"no difference any more; take it off the list: {known}", pytrace=False)
    if failure:
        pytest.fail(failure, pytrace=False)


def test_every_known_difference_is_about_a_line_of_the_table() -> None:
    every = [case for variant in ("nft", "legacy") for case in cases_of(KubeProxy(variant))]
    for known in DIFFERENCES:
        assert any(known.fits(case) for case in every), known
