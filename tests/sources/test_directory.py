"""The manifest source as the agent uses it: a real directory, real inotify, and batches as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml
from asyncinotify import Inotify, Mask

from kproxy.errors import SourceError
from kproxy.sources import directory, files, folder
from kproxy.sources.directory import ManifestDirectory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from kproxy.sources.changes import ChangeBatch

LIMIT_S = 20.0
"""For how long a test waits for what must happen."""


def service(name: str, port: object = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n---\n"


class Follower:
    """Follows a directory and knows what its batches add up to: name of a Service -> its port."""

    def __init__(self, batches: AsyncIterator[ChangeBatch]) -> None:
        self._batches = batches
        self.ports: dict[str, int] = {}
        self.problems: list[str] = []
        self.batches = 0
        self.gone: list[str] = []

    async def take(self) -> Self:
        async with asyncio.timeout(LIMIT_S):
            batch = await anext(self._batches)
        self.batches += 1
        for change in batch.changes:
            name = change.key.removeprefix("default/")
            obj: Any = change.obj
            if obj is None:
                del self.ports[name]
                self.gone.append(name)
            else:
                self.ports[name] = obj.spec.ports[0].port
        self.problems = [str(problem) for problem in batch.problems]
        return self

    async def until(self, **ports: int) -> Self:
        """Take batches until the Services are these."""
        while self.ports != ports:
            await self.take()
        return self

    async def until_problems(self, wanted: Callable[[list[str]], bool]) -> Self:
        while not wanted(self.problems):
            await self.take()
        return self


def following(path: Path, test: Callable[[Follower], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a follower of a directory."""

    async def run() -> None:
        async with contextlib.aclosing(ManifestDirectory(path).changes()) as batches:
            await test(Follower(batches))

    asyncio.run(run())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that vanished is awaited for longer than any test takes, so that no delay of the machine counts."""
    monkeypatch.setattr(folder, "GRACE_S", 3600.0)


def test_the_first_batch_is_all_there_is(path: Path) -> None:
    (path / "a.yaml").write_text(service("a") + service("b", 81))
    (path / "b.json").write_text('{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}, "spec": 1}')
    (path / "c.txt").write_text(service("d"))

    async def test(follower: Follower) -> None:
        await follower.take()
        assert follower.ports == {"a": 80, "b": 81}
        assert follower.problems == ["b.json:1: spec: expected mapping, got int"]

    following(path, test)


def test_the_first_batch_of_an_empty_directory(path: Path) -> None:
    async def test(follower: Follower) -> None:
        await follower.take()
        assert (follower.ports, follower.problems) == ({}, [])

    following(path, test)


def test_files_written_moved_and_removed(path: Path) -> None:
    (path / "b.json").write_text("")

    async def test(follower: Follower) -> None:
        await follower.take()
        (path / "a.yaml").write_text(service("a"))
        await follower.until(a=80)
        (path / ".new").write_text(service("a", 81) + service("b"))
        (path / ".new").rename(path / "a.yaml")
        await follower.until(a=81, b=80)
        (path / "b.json").write_text(json.dumps(yaml.safe_load(service("c").removesuffix("---\n"))))
        await follower.until(a=81, b=80, c=80)
        (path / "a.yaml").rename(path / "z.yml")
        (path / "b.json").unlink()
        await follower.until(a=81, b=80)
        (path / "z.yml").unlink()
        await follower.until()
        assert follower.problems == []

    following(path, test)


def test_several_changes_that_are_waiting_are_one_batch(path: Path) -> None:
    async def test(follower: Follower) -> None:
        await follower.take()
        for name in ("a", "b", "c"):
            (path / f"{name}.yaml").write_text(service(name))
        await follower.take()
        assert follower.ports == {"a": 80, "b": 80, "c": 80}

    following(path, test)


def test_a_half_written_file_takes_nothing_away(path: Path) -> None:
    (path / "a.yaml").write_text(service("a") + service("b"))

    async def test(follower: Follower) -> None:
        await follower.take()
        with (path / "a.yaml").open("w") as writer:
            (path / "z.yaml").write_text(service("z"))
            await follower.until(a=80, b=80, z=80)
            writer.write(service("a", 81))
            writer.flush()
            (path / "z.yaml").write_text(service("z", 81))
            await follower.until(a=80, b=80, z=81)
            writer.write(service("b", 81))
        await follower.until(a=81, b=81, z=81)
        assert follower.gone == []

    following(path, test)


@pytest.mark.usefixtures("patient")
def test_editors_that_remove_a_file_before_they_write_it(path: Path) -> None:
    (path / "a.yaml").write_text(service("a"))

    async def test(follower: Follower) -> None:
        await follower.take()
        # vim with 'backupcopy=no'
        (path / "a.yaml").rename(path / "a.yaml~")
        (path / "z.yaml").write_text(service("z"))
        await follower.until(a=80, z=80)
        (path / "a.yaml").write_text(service("a", 81))
        (path / "a.yaml~").unlink()
        await follower.until(a=81, z=80)
        # git checkout
        (path / "a.yaml").unlink()
        (path / "z.yaml").write_text(service("z", 81))
        await follower.until(a=81, z=81)
        (path / "a.yaml").write_text(service("a", 82))
        await follower.until(a=82, z=81)
        assert follower.gone == []

    following(path, test)


def test_a_mended_document(path: Path) -> None:
    (path / "a.yaml").write_text(service("a") + service("b"))

    async def test(follower: Follower) -> None:
        await follower.take()
        (path / "a.yaml").write_text(service("a", "x") + service("b", 81))
        await follower.until(a=80, b=81)
        assert follower.problems == ["a.yaml:7: spec.ports[0].port: expected int, got str"]
        (path / "a.yaml").write_text(service("a", 82) + service("b", 81))
        await follower.until(a=82, b=81)
        assert follower.problems == []

    following(path, test)


def test_a_problem_that_stays_is_not_told_again(path: Path) -> None:
    (path / "a.yaml").write_text(service("a", "x"))

    async def test(follower: Follower) -> None:
        await follower.take()
        (path / "a.yaml").write_text(service("a", "y"))
        (path / "b.txt").write_text("")
        (path / "z.yaml").write_text(service("z"))
        await follower.until(z=80)
        assert follower.batches == 2

    following(path, test)


def test_hard_links_and_nameless_files(path: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text(service("a"))

    async def test(follower: Follower) -> None:
        await follower.take()
        (path / "a.yaml").hardlink_to(tmp_path / "outside")
        await follower.until(a=80)

    following(path, test)


class TestSymlinks:
    def test_a_file_outside(self, path: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "real").write_text(service("a"))

        async def test(follower: Follower) -> None:
            await follower.take()
            (path / "a.yaml").symlink_to(outside / "real")
            await follower.until(a=80)
            (outside / "real").write_text(service("a", 81))
            await follower.until(a=81)
            (outside / "new").write_text(service("a", 82))
            (outside / "new").rename(outside / "real")
            await follower.until(a=82)
            (outside / "other").write_text(service("b"))
            (path / ".link").symlink_to(outside / "other")
            (path / ".link").rename(path / "a.yaml")
            await follower.until(b=80)
            (outside / "other").write_text(service("b", 81))
            await follower.until(b=81)
            (path / "a.yaml").unlink()
            await follower.until()

        following(path, test)

    def test_a_mounted_config_map(self, path: Path) -> None:
        def mount(version: str, **contents: str) -> None:
            """Do as the kubelet does with a ConfigMap volume."""
            (path / version).mkdir()
            for name, content in contents.items():
                (path / version / f"{name}.yaml").write_text(content)
            (path / "..data_tmp").symlink_to(version)
            (path / "..data_tmp").rename(path / "..data")
            for name in contents:
                if not (path / f"{name}.yaml").is_symlink():
                    (path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
            for link in path.glob("*.yaml"):
                if link.stem not in contents:
                    link.unlink()

        mount("..v1", a=service("a"), b=service("b"))

        async def test(follower: Follower) -> None:
            await follower.take()
            assert follower.ports == {"a": 80, "b": 80}
            mount("..v2", a=service("a", 81), b=service("b", 81))
            shutil.rmtree(path / "..v1")
            await follower.take()
            assert follower.ports == {"a": 81, "b": 81}
            mount("..v3", a=service("a", 82), c=service("c"))
            await follower.until(a=82, c=80)
            mount("..v4", c=service("c", 83))
            await follower.until(c=83)

        following(path, test)

    def test_the_directory_is_a_symlink_that_turns(self, tmp_path: Path) -> None:
        """As git-sync does."""
        for version, port in (("v1", 81), ("v2", 82)):
            (tmp_path / version / "manifests").mkdir(parents=True)
            (tmp_path / version / "manifests" / "a.yaml").write_text(service("a", port))
        (tmp_path / "current").symlink_to("v1")

        async def test(follower: Follower) -> None:
            await follower.until(a=81)
            (tmp_path / ".new").symlink_to("v2")
            (tmp_path / ".new").rename(tmp_path / "current")
            await follower.until(a=82)
            (tmp_path / "v2" / "manifests" / "b.yaml").write_text(service("b"))
            await follower.until(a=82, b=80)
            assert follower.gone == []

        following(tmp_path / "current" / "manifests", test)


class TestLostDirectory:
    @pytest.mark.usefixtures("patient")
    def test_removed_and_made_anew(self, path: Path) -> None:
        (path / "a.yaml").write_text(service("a"))
        (path / "b.yaml").write_text(service("b"))

        async def test(follower: Follower) -> None:
            await follower.take()
            shutil.rmtree(path)
            await follower.until_problems(bool)
            assert "stay until it is back" in follower.problems[0]
            assert follower.ports == {"a": 80, "b": 80}
            path.mkdir()
            (path / "b.yaml").write_text(service("b", 81))
            (path / "a.yaml").write_text(service("a"))
            await follower.until(a=80, b=81)
            await follower.until_problems(lambda problems: not problems)
            assert follower.gone == []

        following(path, test)

    def test_moved_away_with_its_parent_and_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "etc" / "manifests"
        path.mkdir(parents=True)
        (path / "a.yaml").write_text(service("a"))
        other = tmp_path / "new" / "manifests"
        other.mkdir(parents=True)
        (other / "a.yaml").write_text(service("a", 81))

        async def test(follower: Follower) -> None:
            await follower.take()
            (tmp_path / "etc").rename(tmp_path / "old")
            await follower.until_problems(bool)
            (tmp_path / "new").rename(tmp_path / "etc")
            await follower.until(a=81)
            assert follower.problems == []
            (path / "b.yaml").write_text(service("b"))
            await follower.until(a=81, b=80)
            # The one that was moved away is no business of ours any more.
            (tmp_path / "old" / "manifests" / "c.yaml").write_text(service("c"))
            (path / "b.yaml").write_text(service("b", 81))
            await follower.until(a=81, b=81)

        following(path, test)

    def test_it_turns_into_a_file(self, path: Path) -> None:
        (path / "a.yaml").write_text(service("a"))

        async def test(follower: Follower) -> None:
            await follower.take()
            path.rename(path.with_name("away"))
            path.write_text("no directory")
            await follower.until_problems(lambda problems: "not a directory" in "".join(problems))
            assert follower.ports == {"a": 80}
            path.unlink()
            path.with_name("away").rename(path)
            await follower.until_problems(lambda problems: not problems)
            assert follower.gone == []

        following(path, test)


def unmounting(path: Path) -> None:
    """Body of the test below: runs in a mount namespace of its own."""
    directory.CHECK_S = 0.01  # type: ignore[misc]

    def mount(port: int) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", str(path)], check=True)
        (path / "a.yaml").write_text(service("a", port))

    mount(80)

    async def test(follower: Follower) -> None:
        await follower.until(a=80)
        subprocess.run(["umount", str(path)], check=True)
        await follower.until_problems(bool)
        assert "another directory, and an empty one" in follower.problems[0]
        mount(81)
        await follower.until(a=81)
        assert follower.problems == []
        (path / "b.yaml").write_text(service("b"))
        await follower.until(a=81, b=80)
        assert follower.gone == []

    following(path, test)


@pytest.mark.root
def test_unmounted_and_mounted_again(path: Path) -> None:
    program = f"from tests.sources import test_directory as t; t.unmounting(t.Path({str(path)!r}))"
    root = Path(__file__).parents[2]
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", program]
    subprocess.run(command, check=True, cwd=root, timeout=LIMIT_S * 3)


def test_a_lost_event_queue(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After IN_Q_OVERFLOW everything is looked at: here all events are taken for one."""
    sync_get = Inotify.sync_get

    def overflow(self: Inotify) -> Any:
        event = sync_get(self)
        if event is not None:
            event._mask, event._watch, event._name = Mask.Q_OVERFLOW, None, None
        return event

    async def test(follower: Follower) -> None:
        await follower.take()
        monkeypatch.setattr(Inotify, "sync_get", overflow)
        (path / "b.yaml").write_text(service("b"))
        (path / "a.yaml").unlink()
        await follower.until(b=80)

    (path / "a.yaml").write_text(service("a"))
    following(path, test)


def test_what_inotify_does_not_tell(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount over the directory gives no event; it is looked at now and then."""
    monkeypatch.setattr(directory, "CHECK_S", 0.01)
    (path / "a.yaml").write_text(service("a"))

    async def test(follower: Follower) -> None:
        await follower.take()
        monkeypatch.setattr("kproxy.sources.watch.lookups", lambda _: iter(()))
        path.rename(path.with_name("away"))
        path.mkdir()
        (path / "b.yaml").write_text(service("b"))
        await follower.until(b=80)

    following(path, test)


def test_a_writer_at_the_start_is_awaited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "FIRST_WAIT_S", 3600.0)
    monkeypatch.setattr(folder, "RETRY_S", 0.01)
    half_read = threading.Event()
    read_file = files.read_file

    def spy(path: Path, **how: Any) -> Any:
        found = read_file(path, **how)
        if found is None:
            half_read.set()
        return found

    monkeypatch.setattr(folder, "read_file", spy)
    (path / "b.yaml").write_text(service("b"))

    async def test(follower: Follower) -> None:
        writer = (path / "a.yaml").open("w")
        first = asyncio.create_task(follower.take())
        assert await asyncio.to_thread(half_read.wait, LIMIT_S)
        writer.write(service("a"))
        writer.close()
        await first
        assert follower.ports == {"a": 80, "b": 80}

    following(path, test)


def test_a_writer_at_the_start_who_does_not_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "FIRST_WAIT_S", 0.01)

    async def test(follower: Follower) -> None:
        with (path / "a.yaml").open("w") as writer:
            writer.write(service("a"))
            writer.flush()
            await follower.take()
            assert follower.ports == {"a": 80}
            writer.write(service("b"))
        await follower.until(a=80, b=80)

    following(path, test)


def test_the_event_loop_goes_on_while_a_big_file_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading happens in another thread: it waits for one that the event loop lets go on."""
    let_go = threading.Event()
    look = folder.Folder.look

    def slow(self: folder.Folder, now: float, *, as_is: bool = False) -> Any:
        assert let_go.wait(LIMIT_S)
        return look(self, now, as_is=as_is)

    monkeypatch.setattr(folder.Folder, "look", slow)
    (path / "a.yaml").write_text(service("a"))

    async def test(follower: Follower) -> None:
        asyncio.get_running_loop().call_soon(let_go.set)
        await follower.take()
        assert follower.ports == {"a": 80}

    following(path, test)


class TestOnce:
    def test_all_there_is(self, path: Path) -> None:
        (path / "a.yaml").write_text(service("a") + service("b", "x"))
        os.mkfifo(path / "b.yaml")
        batch = ManifestDirectory(path).read_once()
        assert [change.key for change in batch.changes] == ["default/a"]
        assert [str(problem) for problem in batch.problems] == [
            "a.yaml:15: spec.ports[0].port: expected int, got str",
            "b.yaml: not a regular file",
        ]

    def test_nothing(self, path: Path) -> None:
        batch = ManifestDirectory(path).read_once()
        assert (batch.changes, batch.problems) == ((), ())

    def test_a_file_that_is_being_written_is_taken_as_it_is(self, path: Path) -> None:
        with (path / "a.yaml").open("w") as writer:
            writer.write(service("a"))
            writer.flush()
            batch = ManifestDirectory(path).read_once()
        assert [change.key for change in batch.changes] == ["default/a"]


def test_no_directory(tmp_path: Path) -> None:
    source = ManifestDirectory(tmp_path / "none")
    with pytest.raises(SourceError, match="no such file or directory - create it"):
        source.read_once()

    async def first() -> None:
        await anext(source.changes())

    with pytest.raises(SourceError, match="no such file or directory - create it"):
        asyncio.run(first())
