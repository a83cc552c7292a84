"""Which files are looked at, and when: with real files, and a clock that the test sets."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from kproxy.errors import SourceError
from kproxy.sources import files
from kproxy.sources.folder import GRACE_S, RETRY_S, Folder

if TYPE_CHECKING:
    from pathlib import Path

    from kproxy.sources.changes import ChangeBatch


def service(*names: str) -> str:
    return "---\n".join(f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n" for name in names)


def names(batch: ChangeBatch | None) -> dict[str, bool]:
    """Return the names that a batch is about, and whether they are there now."""
    assert batch is not None
    return {change.key.removeprefix("default/"): change.obj is not None for change in batch.changes}


def problems(batch: ChangeBatch | None) -> list[str]:
    assert batch is not None
    return [str(problem) for problem in batch.problems]


@pytest.fixture(autouse=True)
def exact_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not write twice in a tick with one size, so that times tell everything."""
    monkeypatch.setattr(files, "TICK_NS", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.yaml").write_text(service("a"))
    (tmp_path / "m" / "b.yaml").write_text(service("b"))
    folder = Folder(tmp_path / "m")
    folder.scan(0)
    assert names(folder.look(0)) == {"a": True, "b": True}
    assert folder.next_look() is None
    return folder


def test_an_empty_directory_is_told_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.scan(0)
    batch = folder.look(0)
    assert batch is not None
    assert (batch.changes, batch.problems) == ((), ())
    assert folder.look(0) is None


def test_when_there_might_be_something_to_tell(folder: Folder) -> None:
    assert Folder(folder.path).ripe(0)
    assert not folder.ripe(1)
    folder.closed("a.yaml", 2)
    assert not folder.ripe(1.9)
    assert folder.ripe(2)
    assert folder.look(2) is None
    folder.lose("gone fishing")
    assert folder.ripe(2)
    assert problems(folder.look(2)) == [f"{folder.path}: gone fishing"]
    assert not folder.ripe(3)
    folder.scan(3)
    assert folder.ripe(3)
    assert problems(folder.look(3)) == []
    assert not folder.ripe(4)


def test_a_scan_reads_what_has_another_identity(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr("kproxy.sources.folder.read_file", lambda path, **_: read.append(path.name))
    folder.scan(1)
    assert folder.look(1) is None
    (folder.path / "b.yaml").write_text(service("b", "c"))
    (folder.path / "d.yaml").write_text(service("d"))
    (folder.path / ".e.yaml").write_text(service("e"))
    folder.scan(2)
    folder.look(2)
    assert read == ["b.yaml", "d.yaml"]


def test_a_file_of_which_there_is_news_is_read_whatever_its_identity(folder: Folder) -> None:
    path = folder.path / "a.yaml"
    before = path.stat()
    path.write_text(service("z"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    folder.closed("a.yaml", 1)
    assert names(folder.look(1)) == {"a": False, "z": True}


def test_a_file_that_vanishes_is_awaited(folder: Folder) -> None:
    path = folder.path / "a.yaml"
    path.unlink()
    folder.removed("a.yaml", 1)
    assert folder.look(1) is None
    assert folder.next_look() == 1 + GRACE_S
    # It comes back, but is being written.
    with path.open("w") as writer:
        folder.created("a.yaml", 1.01)
        assert folder.look(1.01) is None
        assert folder.next_look() == 1.01 + RETRY_S
        writer.write(service("a", "c"))
    folder.closed("a.yaml", 1.02)
    assert names(folder.look(1.02)) == {"c": True}
    assert folder.next_look() is None


def test_a_file_that_stays_away_takes_its_objects_along(folder: Folder) -> None:
    (folder.path / "a.yaml").unlink()
    folder.removed("a.yaml", 1)
    assert folder.look(1) is None
    assert names(folder.look(1 + GRACE_S)) == {"a": False}
    assert folder.next_look() is None


def test_a_file_that_never_was_read_goes_without_a_word(folder: Folder) -> None:
    folder.removed("x.yaml", 1)
    assert folder.look(1) is None
    assert folder.next_look() is None


def test_a_file_that_is_being_written_keeps_its_objects(folder: Folder) -> None:
    path = folder.path / "a.yaml"
    with path.open("w") as writer:
        # News of another file, and a scan: neither reads the half-written one.
        folder.scan(1)
        assert folder.look(1) is None
        writer.write(service("z"))
        writer.flush()
        folder.scan(2)
        assert folder.look(2) is None
        assert folder.next_look() == 2 + RETRY_S
    # The news that it was closed may be missed.
    assert names(folder.look(2 + RETRY_S)) == {"a": False, "z": True}


def test_at_its_word(folder: Folder) -> None:
    (folder.path / "b.yaml").unlink()
    with (folder.path / "a.yaml").open("w") as writer:
        folder.scan(1)
        assert names(folder.look(1, as_is=True)) == {"a": False, "b": False}
        writer.write("")


def test_permissions(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.path / "a.yaml"
    folder.touched("a.yaml", 1)
    assert folder.next_look() is None
    os_open = os.open
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    path.write_text(service("z"))
    folder.closed("a.yaml", 2)
    batch = folder.look(2)
    assert problems(batch) == ["a.yaml: can't be read: permission denied"]
    assert names(batch) == {}
    monkeypatch.setattr(os, "open", os_open)
    folder.touched("a.yaml", 3)
    batch = folder.look(3)
    assert names(batch) == {"a": False, "z": True}
    assert problems(batch) == []


def test_a_symlink_to_nothing(folder: Folder) -> None:
    (folder.path / "c.yaml").symlink_to("target")
    folder.closed("c.yaml", 1)
    assert problems(folder.look(1)) == ["c.yaml: a symlink to a file that is not there"]
    (folder.path / "target").write_text(service("c"))
    folder.scan(2)
    batch = folder.look(2)
    assert names(batch) == {"c": True}
    assert problems(batch) == []
    # It keeps its object when the target goes.
    (folder.path / "target").unlink()
    folder.scan(3)
    assert folder.look(3) is None
    batch = folder.look(3 + GRACE_S)
    assert names(batch) == {}
    assert problems(batch) == ["c.yaml: a symlink to a file that is not there"]
    assert [path.name for path in folder.links()] == ["c.yaml"]


class TestLostDirectory:
    def test_it_is_removed_with_its_files(self, folder: Folder) -> None:
        shutil.rmtree(folder.path)
        folder.removed("a.yaml", 1)
        assert folder.look(1) is None
        batch = folder.look(1 + GRACE_S)
        assert names(batch) == {}
        (problem,) = problems(batch)
        assert problem.startswith(f"{folder.path}: no such file or directory; the objects it held last stay")
        assert folder.next_look() is None
        assert not folder.replaced()

    def test_it_comes_back(self, folder: Folder) -> None:
        away = folder.path.rename(folder.path.with_name("away"))
        folder.scan(1)
        assert len(problems(folder.look(1))) == 1
        assert folder.look(1) is None
        # Empty at first: perhaps its files are on their way.
        folder.path.mkdir()
        assert folder.replaced()
        folder.scan(2)
        batch = folder.look(2)
        assert names(batch) == {}
        assert problems(batch) == [
            f"{folder.path}: another directory, and an empty one; the last objects stay until files come"
        ]
        # Now with one of two files.
        (away / "b.yaml").rename(folder.path / "b.yaml")
        folder.scan(3)
        batch = folder.look(3)
        assert problems(batch) == []
        assert names(batch) == {}
        assert names(folder.look(3 + GRACE_S)) == {"a": False}

    def test_another_one_in_its_place(self, folder: Folder) -> None:
        folder.path.rename(folder.path.with_name("away"))
        folder.path.mkdir()
        (folder.path / "a.yaml").write_text(service("a", "c"))
        assert folder.replaced()
        folder.scan(1)
        assert names(folder.look(1)) == {"c": True}
        assert names(folder.look(1 + GRACE_S)) == {"b": False}
        assert not folder.replaced()

    def test_files_that_go_one_by_one_leave_an_empty_directory(self, folder: Folder) -> None:
        for name in ("a.yaml", "b.yaml"):
            (folder.path / name).unlink()
            folder.removed(name, 1)
        folder.look(1)
        batch = folder.look(1 + GRACE_S)
        assert names(batch) == {"a": False, "b": False}
        assert problems(batch) == []


@pytest.mark.parametrize(("name", "why"), [("none", "no such file or directory"), ("file", "not a directory")])
def test_a_directory_that_is_not_there(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError) as caught:
        Folder(tmp_path / name).require()
    expected = f"manifest directory {tmp_path / name}: {why} - create it, or name another one with --manifests"
    assert str(caught.value) == expected
