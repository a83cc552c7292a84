"""The real kube-proxy does what the flow table says of it, and kproxy does the same, but for known differences.

Both read the same objects from a real API server, in turn, in the same lab.

pytest tests/oracle                  all of it
pytest tests/oracle -k "ipv4-17-"    one row
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flows.stages import Stages, selected_cases
from tests.oracle.cases import cases_of
from tests.oracle.contest import PAIRINGS, Contest, Pairing
from tests.oracle.known import BESIDE_THE_TABLE, DIFFERENCES, Difference, Lines, always, beside_the_table, reason
from tests.peers import require
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.flows.modes import Mode
    from tests.flows.stage import Case

DOCUMENT = Path(__file__).parents[2] / "docs" / "differences.md"


def _marks(pairing: Pairing) -> list[pytest.MarkDecorator]:
    """What only another kernel can show is played in User-Mode Linux, with etcd and API server inside."""
    return [pytest.mark.uml, needs_ipvs] if pairing.kproxy.letter == "v" else []


#: Twelve minutes more, as etcd and the API server run in that machine, too; so it is asked for by name:
#: KPROXY_ORACLE_IPVS=1 python -m tests.uml.suite tests/oracle
WITH_IPVS = os.environ.get("KPROXY_ORACLE_IPVS", "") == "1"
CASES = [
    pytest.param(case, id=case.id, marks=_marks(pairing))
    for pairing in PAIRINGS
    for case in cases_of(pairing.kube_proxy)
    # In User-Mode Linux a configuration takes minutes; `python -m tests.oracle ipvs` plays all of them.
    if pairing.kproxy.letter != "v" or (WITH_IPVS and case.config == "default")
]


@pytest.fixture(scope="module")
def contests(request: pytest.FixtureRequest) -> Iterator[Stages[Contest]]:
    require("etcd", "kube-apiserver", "kube-proxy")
    items = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    made = Stages(selected_cases(items), _contest)
    yield made
    made.close()


def _contest(kube_proxy: Mode) -> Contest:
    return Contest(next(one for one in PAIRINGS if one.kube_proxy is kube_proxy))


@pytest.mark.root
@pytest.mark.parametrize("case", CASES)
def test_kube_proxy_does_what_the_table_says(case: Case, contests: Stages[Contest]) -> None:
    failure = contests.played(case).turns["kube-proxy"].failures[case.id]
    known = reason(case) or beside_the_table(case)
    if failure and known:
        pytest.xfail(known)
    if known and always(case):
        pytest.fail(f"no difference any more; take it off the list: {known}", pytrace=False)
    if failure:
        pytest.fail(failure, pytrace=False)


@pytest.mark.root
@pytest.mark.parametrize("case", CASES)
def test_kproxy_does_what_kube_proxy_does(case: Case, contests: Stages[Contest]) -> None:
    """Who answers, from which address, refused or dropped. Where they are known to differ, kproxy follows the table."""
    contest, known, beside = contests.played(case), reason(case), beside_the_table(case)
    if known and beside:
        pytest.xfail(f"nothing to compare with: {known}; {beside}")
    difference = contest.turns["kproxy"].failures[case.id] if known else contest.difference(case)
    if difference:
        pytest.fail(difference, pytrace=False)


@pytest.mark.parametrize("lines", [*(known.lines for known in DIFFERENCES), *BESIDE_THE_TABLE], ids=str)
def test_what_is_known_is_about_lines_of_the_table(lines: Lines) -> None:
    assert any(lines.include(case) for pairing in PAIRINGS for case in cases_of(pairing.kube_proxy))


@pytest.mark.parametrize("known", DIFFERENCES, ids=lambda known: known.lines.row)
def test_every_known_difference_is_documented(known: Difference) -> None:
    """With the reason: why ours is better."""
    rows = [line.split(" | ") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    described = [cells for cells in rows if cells[0].removeprefix("| ").startswith(known.documented)]
    assert len(described) == 1, f"docs/differences.md has no row that begins with {known.documented!r}"
    assert described[0][-1].strip(" |"), "it does not say why"
