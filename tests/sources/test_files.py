"""Reading one file: what it holds, or why not, or that it is being written."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.sources import files
from kproxy.sources.files import Found, identity_of, is_manifest, read_file
from kproxy.sources.manifests import Unreadable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("web.yaml", True),
        ("web.yml", True),
        ("web.json", True),
        ("a b.yaml", True),
        ("web.yaml~", False),
        ("web.yaml.swp", False),
        (".web.yaml.swp", False),
        (".web.yaml", False),
        ("#web.yaml#", False),
        ("#web.yaml", False),
        (".#web.yaml", False),
        ("..data", False),
        ("..2024_05_01.yaml", False),
        ("web.txt", False),
        ("4913", False),
        ("yaml", False),
    ],
)
def test_which_files_are_read(name: str, read: bool) -> None:
    assert is_manifest(name) == read


def age(path: Path, seconds: float) -> None:
    """Make a file look as if it was last written to some time ago."""
    status = path.stat()
    then = status.st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"x" * 100_000)
    found = read_file(path)
    assert found is not None
    assert found.news == b"x" * 100_000


def test_no_file(tmp_path: Path) -> None:
    assert read_file(tmp_path / "a.yaml") == Found(None)
    (tmp_path / "b.yaml").mkdir()
    assert read_file(tmp_path / "b.yaml") == Found(None)
    (tmp_path / "c.yaml").symlink_to("nowhere")
    assert read_file(tmp_path / "c.yaml") == Found(None)
    assert identity_of(tmp_path / "a.yaml") is None


def test_what_is_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket.yaml"))
        for name in ("fifo.yaml", "device.yaml", "socket.yaml"):
            found = read_file(tmp_path / name)
            assert found is not None
            assert found.news == Unreadable("not a regular file")


def test_a_circle_of_symlinks(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("b.yaml")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    assert read_file(tmp_path / "a.yaml") == Found(Unreadable("can't be read: symlinks that lead in a circle"))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"")

    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "no")

    # Root may read everything.
    monkeypatch.setattr(os, "open", refuse)
    assert read_file(path) == Found(Unreadable("can't be read: permission denied"))


def test_a_file_that_is_too_big(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.touch()
    os.truncate(path, 200 * 2**20)
    found = read_file(path)
    assert found is not None
    assert found.news == Unreadable("200 MiB are more than the 128 MiB that are read - split the file")


class TestBeingWritten:
    """With read leases, which this file system is taken to have."""

    def test_not_while_it_is_open_for_writing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        with path.open("wb") as writer:
            assert read_file(path) is None
            writer.write(b"half")
            writer.flush()
            assert read_file(path) is None
            found = read_file(path, now=True)
            assert found is not None
            assert found.news == b"half"
        found = read_file(path)
        assert found is not None
        assert found.news == b"half"

    def test_a_reader_does_not_matter(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(b"whole")
        with path.open("rb"):
            found = read_file(path)
        assert found is not None
        assert found.news == b"whole"

    def test_a_writer_who_does_nothing_for_long(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        with path.open("wb") as writer:
            writer.write(b"whole")
            writer.flush()
            age(path, files.STALLED_S + 5)
            found = read_file(path)
            assert found is not None
            assert found.news == b"whole"
            # But an empty file was cut, and waits for its content.
            writer.truncate(0)
            age(path, files.STALLED_S + 5)
            assert read_file(path) is None

    def test_a_writer_who_comes_while_it_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(b"whole")
        read = os.read

        def read_and_cut(fd: int, size: int) -> bytes:
            data = read(fd, size)
            path.write_bytes(b"")
            return data

        monkeypatch.setattr(os, "read", read_and_cut)
        assert read_file(path) is None

    def test_a_writer_is_not_disturbed(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(b"whole")
        assert read_file(path) is not None
        # A lease that is left behind would make this fail (O_NONBLOCK) or wait.
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


class TestWithoutLeases:
    @pytest.fixture(autouse=True)
    def refuse(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_lease(fd: int, command: int, argument: int = 0) -> int:
            if command == fcntl.F_SETLEASE:
                raise OSError(errno.EACCES, "another owner's file")
            return 0

        monkeypatch.setattr(fcntl, "fcntl", no_lease)

    def test_a_new_file_waits_for_its_writer(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(b"half")
        assert read_file(path, fresh=True) is None
        assert read_file(path) is not None

    def test_a_hard_link_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(b"whole")
        (tmp_path / "b.yaml").hardlink_to(path)
        assert read_file(tmp_path / "b.yaml", fresh=True) is not None


def test_an_identity_is_kept_only_if_the_next_write_would_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"whole")
    monkeypatch.setattr(files, "TICK_NS", 10**12)
    found = read_file(path)
    assert found is not None
    assert found.identity is None
    monkeypatch.setattr(files, "TICK_NS", 0)
    found = read_file(path)
    assert found is not None
    assert found.identity == identity_of(path)
    path.write_bytes(b"other content")
    assert found.identity != identity_of(path)
