"""How the demo looks: headings, sentences and tables, live on a terminal, plain in a log. At most 100 columns."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType

    from examples.demo.signals import Interrupt

WIDTH = 100
#: A table is drawn again at most so often.
FRAME_S = 0.08


class View:
    """Where the demo is told. On a terminal tables grow while they are looked at, and there is time to read."""

    def __init__(self, interrupt: Interrupt, console: Console | None = None) -> None:
        self._interrupt = interrupt
        self.console = console or Console(highlight=False)
        self.console.width = min(self.console.width, WIDTH) if self.console.is_terminal else WIDTH

    @property
    def is_live(self) -> bool:
        """Whether somebody is looking on while it happens."""
        return self.console.is_terminal

    def heading(self, text: str) -> None:
        """Begin a scene."""
        self.console.print()
        self.console.rule(Text(f" {text} ", style="bold"), align="left", style="dim")

    def say(self, text: str, style: str = "") -> None:
        """Tell something, wrapped at the width."""
        self.show(Text(text, style=style))

    def lines(self, texts: Sequence[str], style: str = "") -> None:
        """Show lines as they are, indented, without wrapping: an agent's log, say."""
        for text in texts:
            self.console.print(f"  {text}", style=style or None, markup=False, soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """Show a table or a text that does not change."""
        if self.is_live:
            self.console.print(what)
            return
        with self.console.capture() as captured:
            self.console.print(what)
        # Rich pads cells and wrapped lines with blanks, which a log does not need.
        self.console.out("\n".join(line.rstrip() for line in captured.get().splitlines()))

    @contextlib.contextmanager
    def live(self, beat_s: float = 0.0) -> Iterator[Callable[[RenderableType], None]]:
        """Give a function that shows a table in place of the one before, and waits a beat on a terminal.

        In a log only the last one is shown.
        """
        last: list[RenderableType] = []
        if not self.is_live:
            try:
                yield lambda what: last.__setitem__(slice(None), [what])
            finally:
                for what in last:
                    self.show(what)
            return
        shown_at = 0.0
        with Live(console=self.console, auto_refresh=False) as live:

            def update(what: RenderableType) -> None:
                nonlocal shown_at
                last[:] = [what]
                if time.monotonic() - shown_at >= FRAME_S:
                    live.update(what, refresh=True)
                    shown_at = time.monotonic()
                self._interrupt.sleep(beat_s)

            yield update
            live.update(last[0], refresh=True)

    def pause(self, seconds: float) -> None:
        """Leave time to look; a log needs none."""
        self._interrupt.sleep(seconds if self.is_live else 0.0)
