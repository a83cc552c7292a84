"""Times one query after the other beside a load: a program of its own, `probe.py ADDRESS QUERIES SECONDS CORE`.

dnsperf sends and receives in two threads on one core. Above some 45,000 queries a second an answer waits there until
the sender lets the receiver run, and its latencies are its own. The probe asks a thousand times a second and goes
before dnsperf, so it sees what a client sees that has time. QUERIES holds one per line, in hex. It prints a JSON list:
how many got no answer, and the seconds of the others.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import time
from pathlib import Path

EVERY_S = 0.001
PRIORITY = 2
"""Above dnsperf's, which is 1."""


def main(address: str, queries: str, seconds: str, core: str) -> None:
    gc.disable()
    os.sched_setaffinity(0, {int(core)})
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    messages = [bytes.fromhex(line) for line in Path(queries).read_text().splitlines()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 53))
        sock.settimeout(1)
        print(json.dumps(_times(sock, messages, float(seconds))))


def _times(sock: socket.socket, messages: list[bytes], seconds: float) -> tuple[int, list[float]]:
    lost, found = 0, []
    due = time.monotonic()
    for number in range(int(seconds / EVERY_S)):
        due += EVERY_S
        if (wait_s := due - time.monotonic()) > 0:
            time.sleep(wait_s)
        message = messages[number % len(messages)]
        sent = time.perf_counter()
        sock.send(message)
        try:
            while sock.recv(2048)[:2] != message[:2]:
                pass
        except TimeoutError:
            lost += 1
        else:
            found.append(time.perf_counter() - sent)
    return lost, found


if __name__ == "__main__":
    main(*sys.argv[1:])
