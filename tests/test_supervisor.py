"""What systemd is told, read from a socket as systemd would."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from kproxy.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = str(tmp_path / "notify") if request.param == "file" else f"@kproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + name[1:] if name.startswith("@") else name)
        end.settimeout(5)
        yield name, end


def test_what_is_said(systemd: tuple[str, socket.socket]) -> None:
    name, end = systemd
    supervisor = Supervisor({"NOTIFY_SOCKET": name})
    supervisor.ready("3 Services")
    supervisor.alive()
    supervisor.stopping()
    assert [end.recv(1000) for _ in range(3)] == [b"READY=1\nSTATUS=3 Services", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_watchdog(environ: dict[str, str], seconds: float) -> None:
    assert Supervisor({"NOTIFY_SOCKET": "/nowhere", **environ}).watchdog_s == seconds
    assert Supervisor(environ).watchdog_s == 0


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_nobody_listens(environ: dict[str, str]) -> None:
    Supervisor(environ).ready("")
