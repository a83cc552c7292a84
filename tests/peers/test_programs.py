"""Where the real programs come from, and what is said where they cannot be had."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.peers import PROGRAMS, VERSION, Missing, peer, programs, require, why_not

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def no_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Go and with an empty cache, which is returned."""
    monkeypatch.setenv("KPROXY_PEERS", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    return tmp_path


def test_the_version_is_a_released_one() -> None:
    assert re.fullmatch(r"1\.\d+\.\d+", VERSION)


def test_all_staging_modules_are_of_that_version() -> None:
    text = (programs.HERE / "kubernetes" / "go.mod").read_text()
    wanted = VERSION.replace("1.", "v0.", 1)
    replaced = re.findall(r"=> k8s\.io/\S+ (v\S+)", text)
    assert replaced
    assert set(replaced) == {wanted}


def test_without_go_it_says_what_is_missing(no_go: Path) -> None:
    assert why_not("etcd", "kube-proxy") == "etcd and kube-proxy must be built, and Go is not installed"
    with pytest.raises(Missing, match="etcd must be built"):
        peer("etcd")


def test_without_go_what_is_in_the_cache_is_used(no_go: Path) -> None:
    (no_go / "kube-proxy").touch()
    assert why_not("kube-proxy") == ""
    assert peer("kube-proxy") == no_go / "kube-proxy"
    require("kube-proxy")


@pytest.mark.usefixtures("no_go")
def test_a_test_is_skipped_and_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NOT RUN"):
        require(*PROGRAMS)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="in CI every test runs"):
        require(*PROGRAMS)


def test_a_failed_build_says_what_the_compiler_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a "go" that only complains."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "go").write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    (tools / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("KPROXY_PEERS", str(tmp_path / "cache"))
    with pytest.raises(Missing, match="no such module"):
        peer("kube-proxy")
    assert not (tmp_path / "cache" / "kube-proxy").exists()
