"""How the service stands, told to whoever started it: systemd, by sd_notify."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from kproxy.supervisor import Supervisor

SOON_S: Final = 0.05
"""How often it is seen whether the start is over."""


async def tell(supervisor: Supervisor, not_ready: Callable[[], str], unhealthy: Callable[[], str]) -> None:
    """Say once that every name is answered for, then give signs of life for as long as names are answered.

    Returns when there is nothing more to tell: no watchdog waits.
    """
    while not_ready():
        await asyncio.sleep(SOON_S)
    supervisor.ready("every name is answered for")
    while supervisor.watchdog_s:
        if not unhealthy():
            supervisor.alive()
        await asyncio.sleep(supervisor.watchdog_s / 3)
