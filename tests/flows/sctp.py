"""Does this kernel have SCTP sockets?"""

from __future__ import annotations

import socket

from tests.lab.probe import KIND, Protocol


def _missing() -> str:
    try:
        socket.socket(socket.AF_INET, *KIND["sctp"]).close()
    except OSError as error:
        return f"this kernel has no SCTP sockets ({error.strerror})"
    return ""


#: Why SCTP flows cannot run; empty when they can.
SCTP_MISSING = _missing()
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp") if SCTP_MISSING else ("tcp", "udp", "sctp")
