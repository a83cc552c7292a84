"""What the tools complain of becomes one error that says what failed and why. The texts are real ones.

They were printed by iptables 1.8.9, both variants, in a private network namespace; the two that need another version
or kernel say so.
"""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane.iptables.binaries import Binaries
from kproxy.dataplane.iptables.tool import IptablesTool, explain_failure
from kproxy.errors import FeatureMissing, KernelError, LockHeld, PermissionMissing, RestoreRefused
from kproxy.plan.iptables.restore import Restore
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from pathlib import Path

RESTORE = Restore(("*nat", ":KUBE-A - [0:0]", "-A KUBE-A -m nosuch", "COMMIT"))


@dataclass(frozen=True)
class Case:
    what: str
    code: int
    stderr: str
    error: type[KernelError]
    says: tuple[str, ...]
    line: int | None = None
    program: str = "/usr/sbin/iptables-nft-restore"

    def __str__(self) -> str:
        return self.what


CASES = [
    Case(
        "nft: a match that there is not",
        2,
        "iptables-nft-restore v1.8.9 (nf_tables): Couldn't load match `nosuch':No such file or directory\n\n"
        "Error occurred at line: 3\n"
        "Try `iptables-nft-restore -h' or 'iptables-nft-restore --help' for more information.\n",
        FeatureMissing,
        ("Couldn't load match `nosuch'", "-A KUBE-A -m nosuch"),
    ),
    Case(
        "legacy: a match that there is not",
        2,
        "iptables-restore v1.8.9 (legacy): Couldn't load match `nosuch':No such file or directory\n\n"
        "Error occurred at line: 3\n"
        "Try `iptables-restore -h' or 'iptables-restore --help' for more information.\n",
        FeatureMissing,
        ("Couldn't load match `nosuch'", "-A KUBE-A -m nosuch"),
        program="/usr/sbin/iptables-legacy-restore",
    ),
    Case(
        "nft: append to an unknown chain",
        1,
        "iptables-nft-restore: line 3 failed: No chain/target/match by that name.\n",
        RestoreRefused,
        ("No chain/target/match by that name", "-A KUBE-A -m nosuch"),
        line=3,
    ),
    Case("legacy: append to an unknown chain", 1, "iptables-restore: line 3 failed\n", RestoreRefused, ("line 3",), 3),
    Case(
        "an address that is none",
        2,
        "iptables-nft-restore v1.8.9 (nf_tables): host/network `999.1.1.1' not found\n"
        "Error occurred at line: 3\nTry `iptables-nft-restore -h' for more information.\n",
        RestoreRefused,
        ("host/network `999.1.1.1' not found", "-A KUBE-A -m nosuch"),
        line=3,
    ),
    Case(
        "nft: refused by the kernel: the reason stands on the second line",
        4,
        "iptables-nft-restore v1.8.9 (nf_tables): \n"
        "line 3: RULE_APPEND failed (Invalid argument): rule in chain KUBE-A\n",
        RestoreRefused,
        ("RULE_APPEND failed (Invalid argument)", "-A KUBE-A -m nosuch"),
        line=3,
    ),
    Case(
        "nft: a chain in use",
        4,
        "iptables-nft-restore v1.8.9 (nf_tables): \nline 2: CHAIN_DEL failed (Device or resource busy): chain KUBE-A\n",
        RestoreRefused,
        ("CHAIN_DEL failed (Device or resource busy)",),
        line=2,
    ),
    Case("legacy: refused by the kernel", 1, "iptables-restore: line 4 failed\n", RestoreRefused, ("line 4",), 4),
    Case(
        "a kernel without a module (its warning is iptables's own text)",
        4,
        "Warning: Extension sctp revision 0 not supported, missing kernel module?\n"
        "iptables-nft-restore v1.8.9 (nf_tables): \n"
        "line 3: RULE_APPEND failed (No such file or directory): rule in chain KUBE-A\n",
        FeatureMissing,
        ("Extension sctp", "-A KUBE-A -m nosuch"),
    ),
    Case(
        "the legacy warning of nft is not the reason",
        1,
        "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n"
        "iptables: No chain/target/match by that name.\n",
        RestoreRefused,
        ("No chain/target/match by that name",),
        program="/usr/sbin/iptables-nft",
    ),
    Case(
        "nft without privileges",
        4,
        "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: "
        "Permission denied (you must be root)\n",
        PermissionMissing,
        ("permission denied", "CAP_NET_ADMIN"),
    ),
    Case(
        "legacy without privileges",
        4,
        "Fatal: can't open lock file /run/xtables.lock: Permission denied\n",
        PermissionMissing,
        ("permission denied", "CAP_NET_ADMIN"),
    ),
    Case(
        "the lock is held",
        4,
        "Can't lock /run/xtables.lock: Resource temporarily unavailable\n"
        "Another app is currently holding the xtables lock. Stopped waiting after 5s.\n",
        LockHeld,
        ("the xtables lock is held by kubelet (pid 17)",),
    ),
    Case(
        "the lock came free, and then something else failed (1.8.7 and older tell that they wait)",
        1,
        "Another app is currently holding the xtables lock; still 3s 0us time ahead to have a chance to grab the "
        "lock...\niptables-restore: line 3 failed\n",
        RestoreRefused,
        ("line 3 failed",),
        line=3,
    ),
    Case("nothing said at all", 139, "", RestoreRefused, ("exit code 139",)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_failures(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.dataplane.iptables.tool.lock_holder", lambda: "kubelet (pid 17)")
    error = explain_failure(case.program, case.code, case.stderr, RESTORE)
    assert type(error) is case.error
    for words in case.says:
        assert words in str(error)
    assert str(error).startswith(f"{case.program.rpartition('/')[2]}: ")
    assert str(error).isprintable()
    if isinstance(error, RestoreRefused):
        assert error.line == case.line


def test_a_lock_that_nobody_seems_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kproxy.dataplane.iptables.tool.lock_holder", lambda: "")
    error = explain_failure("iptables", 4, "Another app is currently holding the xtables lock.", None)
    assert "held by another program" in str(error)


def test_a_line_that_the_restore_does_not_have() -> None:
    error = explain_failure("iptables-restore", 1, "iptables-restore: line 99 failed\n", RESTORE)
    assert isinstance(error, RestoreRefused)
    assert error.line == 99


# The tools are run: scripts in their place write down what they were given.


@dataclass
class Script:
    """A program that prints `out` and `err`, exits with `code`, and keeps its arguments and input."""

    path: Path
    out: str = ""
    err: str = ""
    code: int = 0
    tool: IptablesTool = field(init=False)

    def __post_init__(self) -> None:
        (self.path.parent / "out").write_text(self.out)
        (self.path.parent / "err").write_text(self.err)
        keep = 'echo "$@" > arguments\ncat > input\ncat out\ncat err >&2'
        self.path.write_text(f"#!/bin/sh\ncd {self.path.parent}\n{keep}\nexit {self.code}\n")
        self.path.chmod(0o755)
        program = str(self.path)
        self.tool = IptablesTool(Binaries(Family.IPV4, "nft", program, program, program))

    def given(self, what: str) -> str:
        return (self.path.parent / what).read_text()


def test_restore(tmp_path: Path) -> None:
    script = Script(tmp_path / "iptables-restore")
    script.tool.restore(RESTORE)
    assert script.given("arguments") == "-w 5 --noflush\n"
    assert script.given("input") == "*nat\n:KUBE-A - [0:0]\n-A KUBE-A -m nosuch\nCOMMIT\n"
    assert (script.tool.family, script.tool.variant) == (Family.IPV4, "nft")


def test_a_refused_restore(tmp_path: Path) -> None:
    script = Script(tmp_path / "iptables-restore", err="iptables-restore: line 3 failed\n", code=1)
    with pytest.raises(RestoreRefused, match="-A KUBE-A -m nosuch") as caught:
        script.tool.restore(RESTORE)
    assert caught.value.line == 3
    assert caught.value.while_writing


def test_a_look_that_fails_is_told_from_a_restore_that_does(tmp_path: Path) -> None:
    script = Script(tmp_path / "iptables-save", err="iptables-save: something\n", code=1)
    with pytest.raises(KernelError) as caught:
        script.tool.save()
    assert not caught.value.while_writing


def test_save(tmp_path: Path) -> None:
    script = Script(tmp_path / "iptables-save", out="*nat\n:KUBE-A - [0:0]\nCOMMIT\n", err="# Warning: something\n")
    assert script.tool.save()["nat"].user_chains == {"KUBE-A"}


def test_comments_of_others_in_another_encoding(tmp_path: Path) -> None:
    """Both variants take and print any bytes (tried with 1.8.9); a sync must not fall over them."""
    script = Script(tmp_path / "iptables-save")
    rule = b'-m comment --comment "caf\xe9" -j KUBE-A'
    (tmp_path / "out").write_bytes(b"*nat\n:KUBE-A - [0:0]\n-A OUTPUT " + rule + b"\nCOMMIT\n")
    saved = script.tool.save()
    assert saved["nat"].user_chains == {"KUBE-A"}
    # What was read can be written back as it was: cleanup deletes such a rule by its text.
    script.tool.restore(Restore(("*nat", f"-D OUTPUT {saved['nat'].rules['OUTPUT'][0]}", "COMMIT")))
    assert (tmp_path / "input").read_bytes() == b"*nat\n-D OUTPUT " + rule + b"\nCOMMIT\n"


def test_a_tool_that_is_gone(tmp_path: Path) -> None:
    script = Script(tmp_path / "iptables-save")
    script.path.unlink()
    with pytest.raises(FeatureMissing, match="is gone - install the package iptables"):
        script.tool.save()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_tool_that_can_not_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The node has no process, memory or file descriptor left: that passes."""

    def run(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    script = Script(tmp_path / "iptables-save")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(KernelError, match=f"iptables-save can't be started: {os.strerror(number)}"):
        script.tool.save()


@pytest.mark.parametrize(
    ("err", "code", "there"),
    [
        ("", 0, True),
        ("# Warning: iptables-legacy tables present, use iptables-legacy to see them\n", 0, True),
        ("iptables: No chain/target/match by that name.\n", 1, False),
        (
            "iptables v1.8.9 (nf_tables): chain `KUBE-PROXY-CANARY' in table `mangle' is incompatible, "
            "use 'nft' tool.\n",
            1,
            False,
        ),
        (
            "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n"
            "iptables: No chain/target/match by that name.\n",
            1,
            False,
        ),
        (
            "# Warning: iptables-legacy tables present, use iptables-legacy to see them\n"
            "iptables v1.8.9 (nf_tables): chain `KUBE-PROXY-CANARY' in table `mangle' is incompatible, "
            "use 'nft' tool.\n",
            1,
            False,
        ),
    ],
)
def test_has_chain(tmp_path: Path, err: str, code: int, there: bool) -> None:
    script = Script(tmp_path / "iptables", err=err, code=code)
    assert script.tool.has_chain("mangle", "KUBE-PROXY-CANARY") is there
    assert script.given("arguments") == "-w 5 -t mangle -S KUBE-PROXY-CANARY 1\n"


@pytest.mark.parametrize(
    ("err", "error"),
    [
        ("Another app is currently holding the xtables lock. Stopped waiting after 5s.\n", LockHeld),
        ("iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied\n", PermissionMissing),
        ("iptables: Memory allocation problem.\n", KernelError),
    ],
)
def test_has_chain_does_not_guess(tmp_path: Path, err: str, error: type[KernelError]) -> None:
    """A canary that can't be looked at is not gone."""
    with pytest.raises(error):
        Script(tmp_path / "iptables", err=err, code=4).tool.has_chain("mangle", "KUBE-PROXY-CANARY")
