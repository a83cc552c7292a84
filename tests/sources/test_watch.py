"""Which directories finding a path reads, and so which have to be watched."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asyncinotify import Inotify, Mask

from kproxy.errors import SourceError
from kproxy.sources.watch import MAX_LINKS, PathWatch, lookups

if TYPE_CHECKING:
    from asyncinotify import Watch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def below(root: Path, path: Path) -> list[str]:
    """Return the look-ups below a directory, "directory/name" as seen from there."""
    found = [Path(directory) / name for directory, name in lookups(path)]
    # The way to the directory itself comes first.
    assert found[: len(root.parts) - 1] == [*reversed(root.parents[:-1]), root]
    return [
        str(step.relative_to(root))
        for step in found[len(root.parts) - 1 :]
        if step.is_relative_to(root) and step != root
    ]


def test_a_plain_path(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    assert below(root, root / "a" / "b") == ["a", "a/b"]
    assert below(root, root / "a" / "." / "b") == ["a", "a/b"]


def test_symlinks(root: Path) -> None:
    (root / "v1" / "manifests").mkdir(parents=True)
    (root / "current").symlink_to("v1")
    (root / "absolute").symlink_to(root / "current" / "manifests")
    assert below(root, root / "current" / "manifests") == ["current", "v1", "v1/manifests"]
    assert below(root, root / "absolute") == ["absolute", "current", "v1", "v1/manifests"]


def test_a_mounted_config_map(root: Path) -> None:
    (root / "..2024").mkdir()
    (root / "..2024" / "a.yaml").touch()
    (root / "..data").symlink_to("..2024")
    (root / "a.yaml").symlink_to("..data/a.yaml")
    assert below(root, root / "a.yaml") == ["a.yaml", "..data", "..2024", "..2024/a.yaml"]


def test_the_parent_of_where_a_symlink_leads(root: Path) -> None:
    (root / "x" / "y").mkdir(parents=True)
    (root / "z").mkdir()
    (root / "z" / "link").symlink_to("../x/y")
    # As the kernel does: the parent of x/y, not of z/link.
    assert below(root, root / "z" / "link" / ".." / "file") == ["z", "z/link", "x", "x/y", "x/file"]


def test_what_is_not_there_ends_the_way(root: Path) -> None:
    assert below(root, root / "a" / "b" / "c") == ["a"]
    (root / "file").touch()
    assert below(root, root / "file" / "b") == ["file", "file/b"]
    (root / "dangling").symlink_to("nowhere/x")
    assert below(root, root / "dangling") == ["dangling", "nowhere"]


def test_a_circle(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert len(below(root, root / "a")) <= MAX_LINKS + 2


def test_a_symlink_that_turns_while_watches_are_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("v1", "v2"):
        (root / version / "manifests").mkdir(parents=True)
    (root / "current").symlink_to("v1")
    add_watch = Inotify.add_watch
    added: list[str] = []

    def turn_and_add(self: Inotify, path: str, mask: Mask) -> Watch:
        if not added:
            (root / ".new").symlink_to("v2")
            (root / ".new").rename(root / "current")
        added.append(path)
        return add_watch(self, path, mask)

    monkeypatch.setattr(Inotify, "add_watch", turn_and_add)
    with PathWatch() as watch:
        watch.follow(root / "current" / "manifests", [])
    assert str(root / "v2" / "manifests") in added


def test_no_more_inotify_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kproxy.sources.watch.Inotify", refuse)
    with pytest.raises(SourceError, match=r"inotify: Too many open files - raise the sysctl fs.inotify.max_user_inst"):
        PathWatch()


def test_no_more_watches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Inotify, "add_watch", refuse)
    with PathWatch() as watch, pytest.raises(SourceError, match=r"raise the sysctl fs.inotify.max_user_watches"):
        watch.follow(root, [])
