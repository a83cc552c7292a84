"""Logs: one line an event, on standard error."""

from __future__ import annotations

import logging
import time

DEBUG_FROM = 4
"""klog's level of what is only of interest when something goes wrong."""


def set_up_logging(verbosity: int) -> logging.Logger:
    """Send kproxy's logs to standard error; `verbosity` is klog's -v. Return kproxy's logger."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    log = logging.getLogger("kproxy")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if verbosity >= DEBUG_FROM else logging.INFO)
    return log
