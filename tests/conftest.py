"""What all tests share: tests that make network namespaces need root, and say so loudly where they can't run."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_CI = os.environ.get("CI", "") not in ("", "false")
NEED_ROOT = "NOT RUN here: it makes network namespaces, which needs root; `make test` runs it in User-Mode Linux"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a run of the command line does to the logger."""
    log = logging.getLogger("kproxy")
    before = (list(log.handlers), log.level, log.propagate)
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def is_root() -> bool:
    return os.geteuid() == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_root():
        return
    if IN_CI:
        raise pytest.UsageError("in CI every test runs, and those that make network namespaces need root")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason=NEED_ROOT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    every = terminalreporter.getreports("skipped")
    skipped = [report for report in every if NEED_ROOT in str(report.longrepr)]
    no_peers = [report for report in every if "NOT RUN: it needs the real Kubernetes programs" in str(report.longrepr)]
    if no_peers:
        terminalreporter.section("NO REAL API SERVER", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(no_peers)} tests need Kubernetes' own programs: install Go, which builds them")
    if skipped:
        terminalreporter.section("PACKETS WERE NOT TESTED HERE", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{len(skipped)} tests need root: `make test` runs them in User-Mode Linux, which needs none"
        )
