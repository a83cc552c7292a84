"""The types of kube-proxy's flags, read as Go reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kproxy.config_values import FALSE, TRUE
from kproxy.settings.durations import parse_duration

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only since click 8.4


class Duration(ParamType):
    """Go's time.ParseDuration: `30s`, `1m30s`, `0`. The value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds; a negative duration is read too, and left to validation."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        try:
            return parse_duration(text)
        except ValueError:
            self.fail(f"{text!r} is not a duration; write it like 30s, 1m30s or 0", param, ctx)


class Boolean(ParamType):
    """Go's strconv.ParseBool, as in `--masquerade-all=false`."""

    name = "bool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return the truth value."""
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text not in TRUE | FALSE:
            self.fail(f"{value!r} is neither true nor false", param, ctx)
        return text in TRUE


class CommaList(ParamType):
    """A list written as `a,b`; the flag may also be given several times."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the parts, without white space and empty ones."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


class Verbosity(ParamType):
    """`-v 2`, `-v2`, `-v=2` and `--v=2` are all klog's verbosity."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the level."""
        text = str(value).removeprefix("=")
        if not text.isdigit():
            self.fail(f"{text!r} is not a log level; write a number from 0 to 10", param, ctx)
        return int(text)


DURATION = Duration()
BOOLEAN = Boolean()
COMMA_LIST = CommaList()
VERBOSITY = Verbosity()
