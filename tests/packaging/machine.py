"""Machines of a test: a container with a systemd of its own, or one that runs a single program as a Pod would.

systemd-nspawn runs both on a throw-away layer above the image's; network, processes and mounts are the container's own.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.packaging.layers import ROOT, layer, overlay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_S = 180
MARK = "-- the script's status:"
#: What a machine has that the image has not: an init system, and tools to look around with.
SYSTEMD = "apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv dbus iproute2 curl procps"

TEST_UNIT = """
[Unit]
After=basic.target
[Service]
Type=oneshot
WorkingDirectory=/
StandardOutput=append:/result/output
StandardError=append:/result/output
ExecStart=/bin/bash /result/script
ExecStopPost=/bin/sh -c 'echo $EXIT_STATUS > /result/status; systemctl poweroff --no-block 2> /dev/null'
"""


class Ran(NamedTuple):
    """How a script ended: its exit status, and all that it printed."""

    status: int
    output: str


def with_systemd(layers: Sequence[Path]) -> list[Path]:
    """Return the layers of a machine that has the image's programs and boots."""
    return [*layers, layer("machine", SYSTEMD, layers)]


def boot(layers: Sequence[Path], script: str, files: Mapping[str, str]) -> Ran:
    """Boot a machine with our units and these files in it (path -> content), and run a bash script as root."""
    with tempfile.TemporaryDirectory(prefix="kproxy-machine-") as name:
        place = Path(name)
        result, upper = place / "result", place / "upper"
        units = upper / "etc/systemd/system"
        shutil.copytree(ROOT / "systemd", units)
        (units / "test.service").write_text(TEST_UNIT)
        (units / "multi-user.target.wants").mkdir()
        (units / "multi-user.target.wants/test.service").symlink_to("../test.service")
        _write(upper, files)
        result.mkdir()
        (result / "script").write_text(script)
        console = _nspawn(place, layers, ["--boot", f"--bind={result}:/result", "--console=passive"])
        if not (result / "status").exists():
            raise RuntimeError(f"the machine did not run its script:\n{console[-3000:]}")
        status = (result / "status").read_text().strip()
        return Ran(int(status or 0), (result / "output").read_text())


def run(layers: Sequence[Path], script: str, files: Mapping[str, str]) -> Ran:
    """Run a shell script as the only program of a container with a read-only root file system."""
    with tempfile.TemporaryDirectory(prefix="kproxy-container-") as name:
        place = Path(name)
        _write(place / "upper", files)
        output = _nspawn(
            place, layers, ["--read-only", "--console=pipe"], "/bin/bash", "-c", f'{script}\necho "{MARK}" $?'
        )
        body, _, rest = output.rpartition(MARK)
        if not body:
            raise RuntimeError(f"the container did not run its script:\n{output[-3000:]}")
        return Ran(int(rest.split()[0]), body)


def _write(upper: Path, files: Mapping[str, str]) -> None:
    upper.mkdir(exist_ok=True)
    for path, content in files.items():
        there = upper / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(content)


def _nspawn(place: Path, layers: Sequence[Path], options: Sequence[str], *command: str) -> str:
    for name in ("root", "work"):
        (place / name).mkdir()
    mount = f"mount -t overlay overlay -o {overlay(layers, place / 'upper', place / 'work')} {place / 'root'}"
    words = ["systemd-nspawn", "--quiet", f"--directory={place / 'root'}", "--private-network", "--register=no"]
    nspawn = shlex.join([*words, "--keep-unit", *options, *command])
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mount} && exec {nspawn}"]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S
    )
    return done.stdout.decode(errors="replace")
