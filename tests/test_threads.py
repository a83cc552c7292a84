from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from kproxy import threads
from kproxy.threads import Calls, in_thread
from tests.lab.agent import eventually

PROGRAM = """
import asyncio, threading
from kproxy.threads import Calls

async def main():
    calls = Calls()
    asyncio.create_task(calls.run(threading.Event().wait))
    await asyncio.sleep(0)
    print(await calls.ended(0.01))

asyncio.run(main())
"""

LOOK_UP = """
import asyncio, socket, threading
from kproxy.threads import run_loop

begun = threading.Event()

def look_up(*_, **__):
    begun.set()
    threading.Event().wait()

async def main():
    asyncio.create_task(asyncio.open_connection("api.example", 6443))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    return "ended"

socket.getaddrinfo = look_up
print(run_loop(main()))
"""


def test_what_it_returns_and_raises() -> None:
    async def main() -> None:
        assert await Calls().run(lambda: 7) == 7
        assert await in_thread(threading.get_ident) != threading.get_ident()
        with pytest.raises(OSError, match="broken"):
            await Calls().run(fail)

    def fail() -> None:
        raise OSError("broken")

    asyncio.run(main())


def test_a_call_goes_on_when_nobody_waits_for_it_any_more() -> None:
    async def main() -> None:
        calls, may_end, ended = Calls(), threading.Event(), threading.Event()

        def call() -> None:
            may_end.wait()
            ended.set()

        waiting = asyncio.create_task(calls.run(call))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not await calls.ended(0.01)
        may_end.set()
        assert await calls.ended(10)
        assert ended.is_set()
        assert await calls.ended(0), "there is none"

    asyncio.run(main())


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_look_up_that_hangs_does_not_either() -> None:
    """A resolver that nobody answers takes up to half a minute: longer than SIGTERM's sender waits."""
    done = subprocess.run([sys.executable, "-c", LOOK_UP], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("ended\n", "")


def test_threads_are_used_again_and_end_with_what_used_them() -> None:
    async def main() -> None:
        calls = Calls()
        assert len({await calls.run(threading.get_ident) for _ in range(20)}) == 1
        await asyncio.gather(*(calls.run(threading.Event().is_set) for _ in range(3)))
        for _ in range(20):
            await in_thread(threading.get_ident)

    before = threading.active_count()
    asyncio.run(main())
    eventually(lambda: threading.active_count() <= before, "the threads have ended")


def test_a_call_waits_for_a_thread_that_can_not_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a node without a process left: it goes on when there is one again."""
    start, refusals = threading.Thread.start, 3

    def refuse(thread: threading.Thread) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def run() -> int:
        calls = Calls()
        given_up = calls.start(lambda: 6)
        given_up.cancel()
        found = await calls.run(lambda: 7)
        assert await calls.ended(10.0)
        return found

    monkeypatch.setattr(threads, "AGAIN_S", 0.01)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert asyncio.run(run()) == 7
    told = "can't start new thread: trying again until one starts"
    assert [record.getMessage() for record in caplog.records] == [told, told], "once for each call"
