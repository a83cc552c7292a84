"""Waits until the configuration file has another content, be it written, replaced, or a ConfigMap's symlink turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.errors import ConfigError
from kproxy.sources.watch import PathWatch

if TYPE_CHECKING:
    from pathlib import Path

LOOK_AGAIN_S = 60.0
"""How often to look all the same."""


async def until_changed(path: Path) -> None:
    """Return never: raise `ConfigError` when the content is another one than at the call.

    As with kube-proxy, the process ends and its supervisor starts it again with the new settings; the rules stay
    meanwhile. A file that is missing for a moment is waited for.
    """
    before = _content(path)
    with PathWatch() as watch:
        while True:
            watch.follow(path.parent, [path])
            now = _content(path)
            if now is not None and now != before:
                raise ConfigError("--config", f"{path} has changed", remedy="start again, to run with what it says now")
            await watch.wait(LOOK_AGAIN_S)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
