"""How the service stands, told to whoever started it: systemd by sd_notify, a probe by a file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kproxy.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kproxy.supervisor import Supervisor

SOON_S: Final = 0.05
"""How often it is seen whether the start is over."""


class Standing:
    """Tells. `ready_file` is there from when every name is answered for until the end; None: no such file.

    Raises `ServerError` where the file can't be.
    """

    def __init__(self, supervisor: Supervisor, ready_file: Path | None) -> None:
        self._supervisor = supervisor
        self._ready_file = ready_file
        self._try(lambda path: path.unlink(missing_ok=True))  # that of one which was killed

    async def tell(self, not_ready: Callable[[], str], unhealthy: Callable[[], str]) -> None:
        """Say once that every name is answered for, then give signs of life for as long as names are answered.

        Returns when there is nothing more to tell: no watchdog waits.
        """
        while not_ready():
            await asyncio.sleep(SOON_S)
        self._try(lambda path: path.touch())
        self._supervisor.ready("every name is answered for")
        while self._supervisor.watchdog_s:
            if not unhealthy():
                self._supervisor.alive()
            await asyncio.sleep(self._supervisor.watchdog_s / 3)

    def ending(self) -> None:
        """Say that this is the end."""
        self._supervisor.stopping()
        self._try(lambda path: path.unlink(missing_ok=True))

    def _try(self, act: Callable[[Path], None]) -> None:
        if self._ready_file is None:
            return
        try:
            act(self._ready_file)
        except OSError as error:
            what = f"--dns-ready-file {self._ready_file}: {(error.strerror or '').lower()}"
            raise ServerError(what, remedy="name a file in a directory that is there and may be written to") from None
