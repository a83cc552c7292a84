"""What systemd is told, and when."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from kproxy.dns.server.standing import Standing
from kproxy.supervisor import Supervisor

if TYPE_CHECKING:
    from pathlib import Path


def test_ready_once_and_signs_of_life_while_all_is_well() -> None:
    name = f"@kproxy-dns-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind("\0" + name[1:])
        notify.setblocking(False)
        why, wrong = "not yet", ""
        asked: Counter[str] = Counter()

        def told(what: str, answer: str) -> str:
            asked[what] += 1
            return answer

        async def asked_again(what: str) -> None:
            before = asked[what]
            async with asyncio.timeout(5):
                while asked[what] < before + 3:
                    await asyncio.sleep(0)

        async def play() -> list[bytes]:
            nonlocal why, wrong
            loop = asyncio.get_running_loop()
            environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000"}
            standing = Standing(Supervisor(environ), None)
            task = loop.create_task(standing.tell(lambda: told("ready", why), lambda: told("healthy", wrong)))
            await asked_again("ready")
            assert silent(notify)
            why = ""
            heard = [await loop.sock_recv(notify, 100) for _ in range(3)]
            wrong = "a worker says nothing"
            while not silent(notify):  # what was said before
                pass
            await asked_again("healthy")
            assert silent(notify)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return heard

        assert asyncio.run(play()) == [b"READY=1\nSTATUS=every name is answered for", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_nothing_is_left_to_tell_where_no_watchdog_waits() -> None:
    asyncio.run(asyncio.wait_for(Standing(Supervisor({}), None).tell(lambda: "", lambda: ""), 5))


def test_the_file_is_there_from_the_first_answer_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "ready"
    file.touch()  # of one that was killed
    standing = Standing(Supervisor({}), file)
    assert not file.exists()
    asyncio.run(asyncio.wait_for(standing.tell(lambda: "", lambda: ""), 5))
    assert file.exists()
    standing.ending()
    assert not file.exists()


def silent(notify: socket.socket) -> bool:
    try:
        notify.recv(100)
    except BlockingIOError:
        return True
    return False
