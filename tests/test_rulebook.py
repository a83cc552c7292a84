"""The rule book: its examples are what the program makes, and the real tools take all of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables.binaries import VARIANTS, find_binaries
from kproxy.state.addresses import FAMILIES, Family
from tests.lab import Namespace, Run
from tests.rulebook import EXAMPLES, FILES, rules_of, skeleton

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted(path.name for path in EXAMPLES.iterdir())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_example_is_what_the_program_makes(name: str, family: Family) -> None:
    written = (EXAMPLES / name / FILES[family]).read_text(encoding="utf-8")
    assert written == rules_of(EXAMPLES / name, family), "run `make rules` and look at the difference"


@pytest.mark.root
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_real_tools_take_it(family: Family, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    binaries = find_binaries(family, variant)
    assert binaries is not None
    with Run() as run:
        namespace = Namespace(run, "rulebook")
        namespace.run(binaries.restore, "--noflush", stdin=skeleton(family))
        for name in NAMES:
            rules = (EXAMPLES / name / FILES[family]).read_text(encoding="utf-8")
            namespace.run(binaries.restore, "--noflush", stdin=rules)
        assert "KUBE-SVC-" in namespace.run(binaries.save, "-t", "nat")
