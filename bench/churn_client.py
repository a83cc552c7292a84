"""Connects to Services in turn, for ever, and prints one line each: when it began and ended, to which, who answered.

    python -I -S churn_client.py ADDRESS...

Times are the system's monotonic clock, in seconds; in the place of who answered stands `!` and why nobody did.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

PORT = 80
TIMEOUT_S = 2.0
PAUSE_S = 0.002  # the machine is for the proxy, too
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # no TIME_WAIT, so that ports do not run out


def main(addresses: list[str]) -> None:
    number = 0
    while True:
        number = (number + 1) % len(addresses)
        begun = time.monotonic()
        who = ask(addresses[number])
        print(f"{begun:.6f} {time.monotonic():.6f} {number} {who}", flush=True)
        time.sleep(PAUSE_S)


def ask(address: str) -> str:
    with socket.socket() as connection:
        connection.settimeout(TIMEOUT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        try:
            connection.connect((address, PORT))
            connection.sendall(b"?\n")
            return str(json.loads(connection.recv(4096))["who"])
        except (OSError, ValueError) as error:
            return f"!{type(error).__name__}"


if __name__ == "__main__":
    main(sys.argv[1:])
