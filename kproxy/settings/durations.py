"""Durations as Go writes them: 30s, 1m30s, 500ms, 0."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Return seconds, as Go's time.ParseDuration reads the text (negative ones too). Raises ValueError."""
    sign, digits = (-1 if text.startswith("-") else 1), text.removeprefix("-" if text.startswith("-") else "+")
    if digits == "0":
        return 0.0
    parts = _PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError(text)
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Return seconds as Go's Duration.String writes them: 0s, 30s, 1m30s, 24h0m0s, 1.5s, 200ms."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.9g}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.9g}µs"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    words = f"{rest:.9g}s"
    if hours or minutes:
        words = f"{minutes}m{words}"
    return f"{hours}h{words}" if hours else words
