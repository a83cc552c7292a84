"""The demo as a user runs it: to the end, interrupted, with an agent that fails, and without root."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.demo import main
from examples.demo.signals import Interrupt
from examples.demo.stage import Settings
from tests.lab.run import NETNS, RUNS, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "examples.demo")
#: Drawn by rich where the locale allows it, and not part of the text.
RULE = "─"


def host_state() -> dict[str, str]:
    """What the demo must not change, looked at without the demo's own eyes."""
    state = {}
    for command in ("ip -o addr", "ip route show table all", "ip -o link", "nft -s list ruleset", "ip rule"):
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        state[command] = re.sub(r" valid_lft.*| expires \d+sec", "", done.stdout)
    return state


def left_by(pid: int) -> list[str]:
    """Namespaces and directories of the demo with this process id."""
    found = [*NETNS.iterdir()] if NETNS.is_dir() else []
    found += RUNS.iterdir() if RUNS.is_dir() else []
    return [path.name for path in found if path.name.startswith(f"kplab-{pid}-")]


@pytest.fixture
def unchanged() -> Iterator[None]:
    before = host_state()
    yield
    assert host_state() == before


@pytest.mark.root
@pytest.mark.usefixtures("unchanged")
def test_from_beginning_to_end() -> None:
    env = {**os.environ, "COLUMNS": "60"}  # what a log's width is must not depend on it
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, err = process.communicate(timeout=scaled(120))
    assert (process.returncode, err) == (0, ""), out + err
    assert left_by(process.pid) == []
    headings = re.findall(rf"^ (\S.*?) +{RULE}+$", out, re.MULTILINE)
    assert [heading[:4] for heading in headings] == [f"{n}/7 " for n in range(1, 8)] + ["Noth"]
    assert re.fullmatch(r"[\d,]+ connections in \d+ s, all as expected\.", out.splitlines()[-1])
    assert "compared with those from before: unchanged." in out
    assert "handed to DNS: shop/db (headless)" in out
    assert re.search(r"^shop/db +None +0 +0$", out, re.MULTILINE)
    assert re.search(r"^db-1\.db +A +10\.244\.2\.13 +ok$", out, re.MULTILINE)
    assert "Health check node port 30961: 200 before, 503 now." in out
    assert "lasted through all of it" in out
    assert "\x1b" not in out
    assert max(len(line) for line in out.splitlines() if "kproxy's log" not in line) <= 100
    assert [line for line in out.splitlines() if line.endswith(" ")] == []


@pytest.mark.root
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "Setting up"),
        (signal.SIGINT, "2/7"),
        (signal.SIGINT, "6/7"),
        (signal.SIGTERM, "5/7"),
        (signal.SIGHUP, "1/7"),
    ],
)
def test_everything_is_removed_after_a_signal(number: signal.Signals, moment: str) -> None:
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if moment in line:
                break
        # To all of it, as a terminal does; and a second time, as impatient people do.
        os.killpg(process.pid, number)
        os.killpg(process.pid, number)
        out, _ = process.communicate(timeout=scaled(60))
    assert process.returncode == 128 + number, out
    assert left_by(process.pid) == []
    assert f"interrupted by {number.name}" in out
    assert "compared with those from before: unchanged." in out
    assert "Traceback" not in out


@pytest.mark.root
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('kproxy: no kernel - get one')", "kproxy: no kernel - get one"),
        ("print('a'); print('last words')", "last words"),
    ],
)
def test_an_agent_that_fails_is_quoted(program: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(("dual-stack",), program=(sys.executable, "-c", program))
    assert main.run(settings, Interrupt()) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "kproxy: the agent has ended after 0 connections" in out
    assert left_by(os.getpid()) == []


@pytest.mark.root
@pytest.mark.usefixtures("unchanged")
def test_what_is_not_as_expected_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes rules, so the Service's address leads out of the cluster."""
    agent = "import signal; signal.signal(15, lambda *_: exit(0)); signal.pause()"
    monkeypatch.setattr("examples.demo.stage.Stage._ready", lambda _stage: True)
    assert main.run(Settings(("topology-hints",), program=(sys.executable, "-c", agent)), Interrupt()) == 1
    out = capsys.readouterr().out
    assert "not as expected: shopper to ClusterIP 10.96.0.50:80: world answered and must not" in out
    assert "NOT as expected" in out.splitlines()[-1]


def test_without_root_it_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main.run(Settings(("dual-stack",)), Interrupt()) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "demo: it makes network namespaces, which needs root - run `sudo make demo`\n"


def test_an_unknown_story_is_refused() -> None:
    done = subprocess.run([*COMMAND, "mainframes"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'mainframes' is not one of 'web-ports'" in done.stderr
