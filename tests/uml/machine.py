"""Boots the kernel on this machine's files, runs one command inside as root, and passes on what it prints."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.uml.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Set inside, to "1".
INSIDE = "KPROXY_UML"
#: One CPU whose system calls cost several times as much as the host's.
SCALE = "5"
BOOT_S = 60
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "HOME", "CI", "LANG", "XDG_CACHE_HOME")

# Everything that is not a file of the host is the machine's own: /proc, /sys, /dev, /run, scratch space.
_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t tmpfs run /run
mkdir -p /run/netns /run/lock /run/tmp
ip link set lo up
cd {directory}
{environment}
{{ {command} ; }} </dev/null >{output} 2>&1
echo $? >{status}
sync
echo o >/proc/sysrq-trigger
sleep 60
"""


def inside() -> bool:
    """Is this process in the machine already?"""
    return os.environ.get(INSIDE) == "1"


def run(
    command: Sequence[str],
    *,
    memory: str = "2G",
    timeout_s: float = 3600,
    environment: Mapping[str, str] | None = None,
    output: IO[str] | None = None,
) -> int:
    """Run `command` inside and return its exit status; what it prints goes to `output` (standard output) as it comes.

    Raises Missing without a kernel, RuntimeError when the machine does not come up, TimeoutError after `timeout_s`.
    """
    path = kernel()
    with tempfile.TemporaryDirectory(prefix="kproxy-uml-") as name:
        directory = Path(name)
        _write_init(directory, command, environment or {})
        with (directory / "console").open("wb") as console:
            process = subprocess.Popen(
                _command_line(path, directory, memory),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        follower = _Follower(directory / "output", output or sys.stdout)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{shlex.join(command)} did not end within {timeout_s:g} s") from None
        finally:
            _end(process)
            follower.finish()
        status = directory / "status"
        if not status.exists():
            console_text = (directory / "console").read_text(errors="replace")
            raise RuntimeError(f"the machine ended before the command did:\n{console_text[-2000:]}")
        return int(status.read_text())


def _write_init(directory: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    passed_on |= {name: value for name, value in os.environ.items() if name.startswith("KPROXY_")}
    own = {"TMPDIR": "/run/tmp", INSIDE: "1", "KPROXY_LAB_SCALE": SCALE}
    exports = {**passed_on, **own, **environment}
    for name in ("output", "status"):
        (directory / name).unlink(missing_ok=True)
    (directory / "output").touch()
    init = directory / "init"
    init.write_text(
        _INIT.format(
            directory=shlex.quote(str(Path.cwd())),
            environment="\n".join(f"export {key}={shlex.quote(value)}" for key, value in exports.items()),
            command=shlex.join(command),
            output=shlex.quote(str(directory / "output")),
            status=shlex.quote(str(directory / "status")),
        )
    )
    init.chmod(0o755)


def _command_line(path: Path, directory: Path, memory: str) -> list[str]:
    root = ["rootfstype=hostfs", "rootflags=/", "rw", f"init={directory / 'init'}"]
    # One console, for the kernel's own words; `con=null` keeps it from opening terminals.
    return [
        *("setpriv", "--pdeathsig", "KILL", str(path)),
        f"mem={memory}",
        *root,
        "con=null",
        "con0=null,fd:1",
        "con1=fd:0,fd:1",
        f"umid=kproxy-{os.getpid()}",
    ]


def _end(process: subprocess.Popen[bytes]) -> None:
    """The machine is a process group: the kernel and one process for each address space in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Follower:
    """Copies a file that grows to a stream."""

    def __init__(self, path: Path, to: IO[str]) -> None:
        self._file = path.open(errors="replace")
        self._to = to
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="uml-output", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._ended.set()
        self._thread.join()
        self._file.close()

    def _follow(self) -> None:
        while True:
            last = self._ended.is_set()
            if text := self._file.read():
                self._to.write(text)
                self._to.flush()
            elif last:
                return
            else:
                time.sleep(0.1)
