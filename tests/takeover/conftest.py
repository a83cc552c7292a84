from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.oracle.cluster import OracleCluster
from tests.peers import require
from tests.takeover.gaps import Gaps

if TYPE_CHECKING:
    from collections.abc import Iterator

GAPS = Gaps()


@pytest.fixture
def gaps() -> Gaps:
    return GAPS


@pytest.fixture(scope="package")
def cluster() -> Iterator[OracleCluster]:
    require("etcd", "kube-apiserver", "kube-proxy")
    with OracleCluster(("tcp",)) as cluster:
        yield cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := GAPS.lines():
        terminalreporter.section("longest time without a new connection while a node changed hands")
        for line in lines:
            terminalreporter.line(line)
