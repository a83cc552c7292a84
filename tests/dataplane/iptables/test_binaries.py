"""Which iptables to use: the kubelet's marks, then the number of rules, then the default (KEP-3178)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables import binaries
from kproxy.dataplane.iptables.binaries import choose_variant, detect_variant, find_binaries
from kproxy.errors import FeatureMissing, KernelError
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from pathlib import Path

V4, V6 = FAMILIES
NONE = "\n*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
HINT = "\n*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
CANARY = "\n*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
ONE_RULE = "\n*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n"
TWO_RULES = "\n*nat\n-A OUTPUT -j ACCEPT\n-A OUTPUT -j RETURN\nCOMMIT\n"
#: A rule that only speaks of the chain.
TALK = '\n*nat\n-A OUTPUT -m comment --comment ":KUBE-IPTABLES-HINT - " -j ACCEPT\nCOMMIT\n'


@pytest.mark.parametrize(
    ("nft", "legacy", "default", "chosen"),
    [
        (NONE, NONE, "nft", "nft"),
        (NONE, NONE, "legacy", "legacy"),
        ("", "", "legacy", "legacy"),
        (HINT, NONE, "legacy", "nft"),
        (NONE, HINT, "nft", "legacy"),
        (CANARY, TWO_RULES, "legacy", "nft"),
        (TWO_RULES, CANARY, "nft", "legacy"),
        (HINT, HINT, "legacy", "nft"),
        (ONE_RULE, TWO_RULES, "nft", "legacy"),
        (TWO_RULES, ONE_RULE, "legacy", "nft"),
        (ONE_RULE, ONE_RULE, "legacy", "legacy"),
        (TALK, TWO_RULES, "nft", "legacy"),
    ],
)
def test_choice(nft: str, legacy: str, default: str, chosen: str) -> None:
    assert choose_variant(nft, legacy, default) == chosen


def install(folder: Path, *names: str, version: str = "", saves: str = "") -> None:
    """Put programs there that print `version` with --version, and `saves` otherwise."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo '{version}' && exit\ncat <<'END'\n{saves}END\n")
        path.chmod(0o755)


def names_of(stem: str) -> list[str]:
    return [stem, f"{stem}-restore", f"{stem}-save"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what a test installs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_SBIN", str(tmp_path))
    monkeypatch.setattr(binaries, "legacy_tables", lambda _: ["nat"])
    # The scripts themselves need a shell's tools.
    (tmp_path / "cat").symlink_to("/bin/cat")
    return tmp_path


def test_nothing_is_installed(path: Path) -> None:
    assert all(find_binaries(family, variant) is None for family in FAMILIES for variant in binaries.VARIANTS)
    with pytest.raises(FeatureMissing, match=r"iptables-restore is not installed - install the package iptables"):
        detect_variant()


def test_named_after_the_variant(path: Path) -> None:
    install(path, *names_of("iptables-legacy"))
    found = find_binaries(V4, "legacy")
    assert found is not None
    assert found.restore == str(path / "iptables-legacy-restore")
    assert find_binaries(V4, "nft") is None
    assert find_binaries(V6, "legacy") is None
    assert detect_variant() == "legacy"


@pytest.mark.parametrize(
    ("version", "variant"),
    [
        ("iptables-restore v1.8.9 (nf_tables)", "nft"),
        ("iptables-restore v1.8.9 (legacy)", "legacy"),
        ("iptables-restore v1.6.1", "legacy"),  # before there were two, it was legacy
    ],
)
def test_a_plain_name_is_asked_what_it_is(path: Path, version: str, variant: str) -> None:
    install(path, *names_of("iptables"), *names_of("ip6tables"), version=version)
    for family in FAMILIES:
        assert find_binaries(family, variant) is not None
        assert find_binaries(family, "nft" if variant == "legacy" else "legacy") is None
    assert detect_variant() == variant


def test_one_of_the_three_programs_is_missing(path: Path) -> None:
    install(path, "iptables-nft", "iptables-nft-restore")
    assert find_binaries(V4, "nft") is None


@pytest.mark.parametrize(
    ("nft", "legacy", "chosen"), [(HINT, NONE, "nft"), (NONE, HINT, "legacy"), (NONE, NONE, "nft")]
)
def test_both_are_installed(path: Path, nft: str, legacy: str, chosen: str) -> None:
    install(path, *names_of("iptables-nft"), saves=nft)
    install(path, *names_of("iptables-legacy"), saves=legacy)
    install(path, *names_of("iptables"), version="iptables v1.8.9 (nf_tables)")
    assert detect_variant() == chosen


def test_comments_of_others_in_another_encoding(path: Path) -> None:
    """Looking for the kubelet's marks must not fall over them."""
    for variant in binaries.VARIANTS:
        install(path, *names_of(f"iptables-{variant}"))
        (path / f"{variant}.out").write_bytes(b'*nat\n-A OUTPUT -m comment --comment "caf\xe9" -j ACCEPT\n')
        (path / f"iptables-{variant}-save").write_text(f"#!/bin/sh\ncat {path / variant}.out\n")
    install(path, *names_of("iptables"), version="iptables v1.8.9 (legacy)")
    assert detect_variant() == "legacy"


def test_legacy_tables_are_not_looked_at_if_there_are_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking would load the modules and make the tables."""
    monkeypatch.setattr(binaries, "legacy_tables", lambda _: [])
    install(path, *names_of("iptables-nft"))
    install(path, *names_of("iptables-legacy"), saves=HINT)
    install(path, *names_of("iptables"), version="iptables v1.8.9 (nf_tables)")
    assert detect_variant() == "nft"


def test_the_wish_of_the_user_counts(path: Path) -> None:
    install(path, *names_of("iptables-nft"), saves=HINT)
    install(path, *names_of("iptables-legacy"))
    assert detect_variant("legacy") == "legacy"
    assert detect_variant("nft") == "nft"


def test_a_wish_that_can_not_be_fulfilled(path: Path) -> None:
    install(path, *names_of("iptables-nft"))
    with pytest.raises(FeatureMissing, match=r"--iptables-variant: iptables-legacy-restore is not installed - use nft"):
        detect_variant("legacy")


def test_families_have_programs_of_their_own(path: Path) -> None:
    install(path, *names_of("ip6tables-nft"))
    assert find_binaries(Family.IPV4, "nft") is None
    found = find_binaries(Family.IPV6, "nft")
    assert found is not None
    assert found.save == str(path / "ip6tables-nft-save")


def test_a_program_that_can_not_be_started(path: Path) -> None:
    for name in ("iptables", "iptables-restore", "iptables-save"):
        (path / name).write_bytes(b"not a program")
        (path / name).chmod(0o755)
    with pytest.raises(KernelError, match="iptables-restore can't be started: Exec format error"):
        find_binaries(Family.IPV4, "nft")
