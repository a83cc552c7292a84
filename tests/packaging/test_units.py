from __future__ import annotations

from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_kubelet_does_not_wait_for_it(unit: Path) -> None:
    """On a control plane it would wait for the API server, which the kubelet starts."""
    ordered = [line for line in unit.read_text().splitlines() if line.startswith(("Before=", "RequiredBy="))]
    assert not [line for line in ordered if "kubelet" in line]
