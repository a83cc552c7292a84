"""Waits until the configuration file has another content, be it written, replaced, or a ConfigMap's symlink turned."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from kproxy.errors import ConfigError, SourceError
from kproxy.sources.watch import PathWatch

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 60.0
"""How often to look all the same, for instance when the node has no inotify instance left."""


async def until_changed(path: Path) -> None:
    """Return never: raise `ConfigError` when the content is another one than at the call.

    As with kube-proxy, the process ends and its supervisor starts it again with the new settings; the rules stay
    meanwhile. A file that is missing for a moment is waited for.
    """
    before = _content(path)
    try:
        with PathWatch() as watch:
            while True:
                watch.follow(path.parent, [path])
                _compare(path, before)
                await watch.wait(LOOK_AGAIN_S)
    except SourceError as error:
        log.warning("%s; %s is looked at every %g s until then", error, path, LOOK_AGAIN_S)
    while True:
        _compare(path, before)
        await asyncio.sleep(LOOK_AGAIN_S)


def _compare(path: Path, before: bytes | None) -> None:
    now = _content(path)
    if now is not None and now != before:
        raise ConfigError("--config", f"{path} has changed", remedy="start again, to run with what it says now")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
