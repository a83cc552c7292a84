"""Ctrl-C and its like, at a time of our choosing.

A signal that raised where it hits could hit in the middle of making or removing a namespace. So it is only noted, and
raised at the next `check`; between two checks there are a few seconds at most.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STEP_S = 0.02


class Interrupted(Exception):
    """The user wants it to end. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


class Interrupt:
    """Notes the first signal."""

    def __init__(self) -> None:
        self.number = 0

    def install(self) -> None:
        """Take the signals over, for the rest of the process's life."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def check(self) -> None:
        """Raise `Interrupted` if a signal came."""
        if self.number:
            raise Interrupted(self.number)

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until a signal comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, STEP_S))
        self.check()

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until `condition()`; raises TimeoutError naming `what`, or `Interrupted`."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s:g} s in vain: {what}")
            self.sleep(STEP_S)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
