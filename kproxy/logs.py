"""Logs: one line an event, on standard error; as text, or as JSON with the numbers in fields of their own."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from kproxy.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEBUG_FROM = 4
"""klog's level of what is only of interest when something goes wrong."""

FORMATS = ("text", "json")

SHOWN = 20
"""Lines of one kind in one go; the rest is counted."""


def logging_format(form: str) -> str:
    """Return --logging-format. Raises `ConfigError`."""
    if form not in FORMATS:
        raise ConfigError("--logging-format", f"{form!r} is unknown", remedy=f"use {' or '.join(FORMATS)}")
    return form


def fields(**values: Any) -> Mapping[str, Any]:
    """Return the `extra` of a log call that adds fields to the line in JSON: `log.info("...", extra=fields(n=1))`."""
    return {"fields": values}


def log_some(log: logging.Logger, level: int, form: str, texts: Sequence[str]) -> None:
    """Log each text, but of many only SHOWN, and how many more there are. `form` has one %s."""
    for text in texts[:SHOWN]:
        log.log(level, form, text)
    if len(texts) > SHOWN:
        log.log(level, form, f"... and {len(texts) - SHOWN} more")


def set_up_logging(verbosity: int, form: str = "text") -> logging.Logger:
    """Send kproxy's logs to standard error in one of FORMATS; `verbosity` is klog's -v. Return kproxy's logger."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if form == "json" else _text())
    log = logging.getLogger("kproxy")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if verbosity >= DEBUG_FROM else logging.INFO)
    return log


def _text() -> logging.Formatter:
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    return formatter


class _Json(logging.Formatter):
    """An object a line, as Kubernetes' own JSON logs: `ts` in ms since 1970, `caller`, `msg`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": round(record.created * 1000, 3),
            "level": record.levelname.lower(),
            "caller": f"{record.name}:{record.lineno}",
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
