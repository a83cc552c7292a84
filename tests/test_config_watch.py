"""The agent ends when its configuration file changes, however the file is replaced."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import pytest

from kproxy.config_watch import until_changed
from kproxy.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write(path: Path) -> None:
    path.write_text("two")


def write_the_same(path: Path) -> None:
    path.write_text("one")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("two")
    other.rename(path)


def away_and_back(path: Path) -> None:
    path.unlink()
    path.write_text("two")


def follow(path: Path, change: Callable[[Path], None], *harmless: Callable[[Path], None]) -> None:
    async def watch() -> None:
        task = asyncio.create_task(until_changed(path))
        await asyncio.sleep(0)  # it has taken its first look
        for step in (*harmless, change):
            assert not task.done()
            step(path)
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await task

    with pytest.raises(ConfigError, match="has changed"):
        asyncio.run(watch())


@pytest.mark.parametrize("change", [write, replace, away_and_back])
def test_a_change(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "config.conf"
    path.write_text("one")
    follow(path, change)


def test_the_same_content_again_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "config.conf"
    path.write_text("one")
    follow(path, write, write_the_same, os.utime)


def test_a_config_map_s_symlink_is_turned(tmp_path: Path) -> None:
    for name, text in (("v1", "one"), ("v2", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.conf").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "config.conf"
    path.symlink_to("..data/config.conf")

    def turn(_: Path) -> None:
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").rename(tmp_path / "..data")

    follow(path, turn)


def test_a_change_on_a_node_without_inotify_instances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A node with many containers has often used up its 128; that must not keep Services from being served."""

    def used_up(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kproxy.sources.watch.Inotify", used_up)
    monkeypatch.setattr("kproxy.config_watch.LOOK_AGAIN_S", 0.01)
    path = tmp_path / "config.conf"
    path.write_text("one")
    follow(path, write)
    assert "raise the sysctl fs.inotify.max_user_instances" in caplog.text
