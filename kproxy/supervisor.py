"""Tells systemd how the service is: sd_notify, a datagram of VARIABLE=value lines to $NOTIFY_SOCKET.

Protocol: sd_notify(3). Without the variable nothing is sent, so nothing here fails where there is no systemd.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


class Supervisor:
    """The other end of the notification socket.

    `watchdog_s` is how long systemd waits for a sign of life before it kills the process; 0 when it does not.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_s = _watchdog(environ) if path else 0.0

    def ready(self, status: str) -> None:
        """Say that the service does what it is for: units ordered after this one may start."""
        self._send("READY=1", f"STATUS={status}")

    def alive(self) -> None:
        """Give the sign of life that the watchdog waits for."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the process ends on purpose."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("systemd can't be told %s: %s", lines[0], error.strerror)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return $WATCHDOG_USEC in seconds, where it is meant for this process."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
