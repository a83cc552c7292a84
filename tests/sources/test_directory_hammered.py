"""The manifest source while others write as fast as they can: nothing is lost, nothing comes out half."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from kproxy.sources.directory import ManifestDirectory
from tests.sources.test_directory import Follower, following, service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def leases(tmp_path: Path) -> None:
    """Without read leases the kernel does not tell whether a file is being written."""
    probe = tmp_path / "probe"
    probe.touch()
    fd = os.open(probe, os.O_RDONLY)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        pytest.skip(f"no file leases on this file system: {errno.errorcode[error.errno or 0]}")
    finally:
        os.close(fd)


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def ports_now(path: Path) -> dict[str, int]:
    ports = {}
    for change in ManifestDirectory(path).read_once().changes:
        obj: Any = change.obj
        ports[change.key.removeprefix("default/")] = obj.spec.ports[0].port
    return ports


def test_a_file_that_is_written_over_and_over_is_never_seen_half(path: Path) -> None:
    """Each write cuts the file, and writes it in parts."""
    names = [f"s{n}" for n in range(40)]

    def write(port: int) -> None:
        with (path / "a.yaml").open("w", buffering=256) as writer:
            for name in names:
                writer.write(service(name, port))

    write(1)

    def hammer() -> None:
        for port in range(2, 400):
            write(port)

    async def test(follower: Follower) -> None:
        await follower.take()
        thread = in_thread(hammer)
        while follower.ports["s0"] != 399:
            await follower.take()
            assert len(set(follower.ports.values())) == 1
            assert follower.problems == []
        thread.join()
        assert follower.gone == []
        assert follower.ports == dict.fromkeys(names, 399)

    following(path, test)


class Chaos:
    """Changes a directory at random, by every means there is."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.outside = path.parent / "outside"
        self.outside.mkdir()
        self.random = random.Random(seed)

    def run(self, steps: int) -> None:
        ways = [self.write] * 4 + [self.replace] * 3 + [self.remove] * 2 + [self.rename, self.link, self.outside_write]
        ways += [self.directory_away, self.directory_anew, self.slow]
        for _ in range(steps):
            self.random.choice(ways)()
        # A directory that was emptied on the way keeps its last objects until a file comes.
        (self.path / "z.yaml").write_text(service("z"))

    def name(self) -> Path:
        return self.path / self.random.choice(["a.yaml", "b.yml", "c.json"])

    def content(self, name: Path) -> str:
        if name.suffix == ".json":
            spec = {"ports": [{"port": self.random.randint(1, 9)}]}
            return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "j"}, "spec": spec})
        chosen = self.random.sample("stuv", self.random.randint(0, 3))
        return "".join(service(name, self.random.randint(1, 9)) for name in chosen)

    def write(self) -> None:
        name = self.name()
        name.write_text(self.content(name))

    def slow(self) -> None:
        name = self.name()
        with name.open("w", buffering=16) as writer:
            writer.write(self.content(name))

    def replace(self) -> None:
        name = self.name()
        new = self.path / f".{name.name}.new"
        new.write_text(self.content(name))
        new.rename(name)

    def remove(self) -> None:
        self.name().unlink(missing_ok=True)

    def rename(self) -> None:
        if (self.path / "a.yaml").exists():
            (self.path / "a.yaml").rename(self.path / "b.yml")

    def link(self) -> None:
        self.outside_write()
        new = self.path / ".link"
        new.unlink(missing_ok=True)
        new.symlink_to(self.outside / "x")
        new.rename(self.path / "b.yml")

    def outside_write(self) -> None:
        (self.outside / "x").write_text(self.content(self.path / "x.yaml"))

    def directory_away(self) -> None:
        away = self.path.with_name("away")
        self.path.rename(away)
        away.rename(self.path)

    def directory_anew(self) -> None:
        shutil.rmtree(self.path)
        self.path.mkdir()


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_the_objects_are_those_of_a_fresh_read(path: Path, seed: int) -> None:
    chaos = Chaos(path, seed)

    async def test(follower: Follower) -> None:
        await follower.take()
        thread = in_thread(lambda: chaos.run(150))
        while "z" not in follower.ports:
            await follower.take()
        thread.join()
        await follower.until(**ports_now(path))

    following(path, test)
