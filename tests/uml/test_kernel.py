"""The kernel's place in the cache, and what is said where there is none."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.uml import kernel, suite
from tests.uml.kernel import Missing


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KPROXY_UML_KERNEL", raising=False)
    monkeypatch.delenv("UML_SOURCE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_another_configuration_is_another_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = kernel.cached()
    monkeypatch.setenv("UML_SOURCE", "linux-source-6.1")
    older = kernel.cached()
    monkeypatch.delenv("UML_SOURCE")
    other = tmp_path / "other"
    other.mkdir()
    (other / "kernel.config").write_text("CONFIG_64BIT=y\n")
    monkeypatch.setattr(kernel, "HERE", other)
    assert len({first, older, kernel.cached()}) == 3
    assert {path.parent for path in (first, older)} == {tmp_path / "kproxy" / "uml"}


def test_a_failed_build_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    build = tmp_path / "build.sh"
    build.write_text("#!/bin/sh\necho 'not installed: flex bison' >&2\nexit 1\n")
    build.chmod(0o755)
    (tmp_path / "kernel.config").touch()
    monkeypatch.setattr(kernel, "HERE", tmp_path)
    with pytest.raises(Missing, match="not installed: flex bison"):
        kernel.kernel()


@pytest.mark.parametrize(("in_ci", "status"), [(True, 1), (False, 0)])
def test_without_a_kernel_it_is_loud_and_in_ci_it_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_ci: bool, status: int
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(suite, "IN_CI", in_ci)
    assert suite.main([]) == status
    assert "WERE NOT TESTED" in capsys.readouterr().err


def test_every_setting_is_named_once() -> None:
    lines = (Path(__file__).parent / "kernel.config").read_text().split("\n")
    names = [line.split("=")[0] for line in lines if line and not line.startswith("#")]
    assert len(names) == len(set(names))
    assert all(name.startswith("CONFIG_") for name in names)
