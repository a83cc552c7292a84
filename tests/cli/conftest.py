"""No test of the command line may touch the machine it runs on, whatever the command line turns out to mean."""

from __future__ import annotations

import pytest

from kproxy.cli import cleanup


@pytest.fixture(autouse=True)
def _hands_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the command line would have touched the kernel")

    for mode in ("iptables", "nftables"):
        monkeypatch.setattr(f"kproxy.dataplane.{mode}.start.start_{mode}", refuse)
        monkeypatch.setattr(f"kproxy.dataplane.{mode}.start.set_sysctls", refuse)
    monkeypatch.setattr("kproxy.start._set_oom_score", refuse)
    monkeypatch.setattr("kproxy.dataplane.iptables.tool.IptablesTool.restore", refuse)
    monkeypatch.setattr(cleanup, "remove_tables", lambda _: [])
