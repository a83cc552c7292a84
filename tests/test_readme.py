"""The README stays true: its commands are run, its links lead somewhere, its first screen shows both commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.one_node import LEAVE_CONNTRACK
from tests.lab import Namespace, Run

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.removeprefix("$ ").split("   #")[0].strip() for line in README.splitlines() if line.startswith("$ ")]
FIRST_SCREEN = 60
PAGES = sorted(path for path in REPOSITORY.rglob("*.md") if ".venv" not in path.parts)


def test_the_first_screen_shows_both_commands_with_their_output() -> None:
    first = README.splitlines()[:FIRST_SCREEN]
    for command in ("$ sudo make demo", "$ sudo make test"):
        assert command in first
        assert first[first.index(command) + 1].strip(), "the output follows the command"


def test_make_knows_the_targets() -> None:
    """What they do is run by CI (`make test`) and by tests/examples/test_demo.py."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for command in COMMANDS:
        if command.startswith("sudo make"):
            assert re.search(rf"^{command.split()[-1]}:", makefile, re.MULTILINE)


def kproxy(command: str) -> list[str]:
    return [sys.executable, "-m", *shlex.split(command)]


def test_render_as_written() -> None:
    (command,) = (command for command in COMMANDS if command.startswith("kproxy render"))
    done = subprocess.run(kproxy(command), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "COMMIT" in done.stdout


def test_explain_as_written() -> None:
    (command,) = (command for command in COMMANDS if command.startswith("kproxy explain"))
    done = subprocess.run(kproxy(command), cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "each with a chance of 1 in 3" in done.stdout


@pytest.mark.root
def test_run_and_cleanup_as_written() -> None:
    (run,) = (command for command in COMMANDS if command.startswith("kproxy run"))
    (cleanup,) = (command for command in COMMANDS if command.startswith("kproxy cleanup"))
    with Run() as lab:
        namespace = Namespace(lab, "readme")
        namespace.run("ip", "link", "set", "lo", "up")
        process = namespace.popen([*kproxy(run), *LEAVE_CONNTRACK], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            assert any("IPv4: full sync" in line for line in process.stderr)
            assert "KUBE-SERVICES" in namespace.run("iptables-save", "-t", "nat")
        finally:
            process.terminate()
            process.communicate()
        namespace.run(*kproxy(cleanup))
        assert "KUBE-" not in namespace.run("iptables-save", "-t", "nat")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
