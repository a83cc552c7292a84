"""`kproxy dns` as a child of the agent: a process of its own, with its own watches, that is started again when it ends.

So a large list that the agent decodes keeps nobody from an answer, and a fault in one is none in the other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kproxy.dns.server.config import DnsConfig

log = logging.getLogger(__name__)

RESTART_S: Final = (0.2, 1.0, 5.0, 15.0)
"""How long it is waited before another start, the more failures in a row the longer."""
SETTLED_S: Final = 60.0
END_S: Final = 8.0
PARENT: Final = "KPROXY_DNS_PARENT"
"""Tells the child whose it is: it ends when that process does, however that came."""

OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd says to the agent alone."""


async def keep_running(config: DnsConfig) -> None:
    """Keep the child running until cancelled; then it ends in order."""
    argv = [sys.executable, "-m", "kproxy", "dns", *config.arguments()]
    clock = asyncio.get_running_loop().time
    failures = 0
    while True:
        began = clock()
        try:
            what = f"ended with code {await _one(argv)}"
        except OSError as error:  # there may be too many processes at the moment
            what = f"was not started: {(error.strerror or str(error)).lower()}"
        failures = 0 if clock() - began > SETTLED_S else failures
        wait_s = RESTART_S[min(failures, len(RESTART_S) - 1)]
        failures += 1
        log.error("DNS %s: starting it again in %g s", what, wait_s)
        await asyncio.sleep(wait_s)


def orphaned() -> bool:
    """Tell, in the child, whether the process that started it is there no more."""
    return os.environ.get(PARENT, str(os.getppid())) != str(os.getppid())


async def _one(argv: list[str]) -> int:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in OURS} | {PARENT: str(os.getpid())},
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        await _end(process)
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
