from __future__ import annotations

import os
import socket

from kproxy.dns.server.loop import Loop


def test_a_descriptor_s_next_owner_is_not_told_of_its_last_one() -> None:
    """Two connections have news; the first one's is that the second is closed, and a new one gets its number."""
    loop = Loop()
    told: list[str] = []
    pairs = [socket.socketpair() for _ in range(3)]
    (first, one), (second, two), _ = pairs
    new: list[socket.socket] = []

    def replace(closed: socket.socket, name: str) -> None:
        loop.stop()
        told.append(name)
        number = closed.fileno()
        loop.forget(number)
        closed.close()
        new.append(socket.socket(fileno=os.dup2(pairs[2][0].fileno(), number)))
        loop.watch(number, lambda events: told.append(f"new: {events}"))

    # Whichever is told first replaces the other.
    loop.watch(first.fileno(), lambda _: replace(second, "first"))
    loop.watch(second.fileno(), lambda _: replace(first, "second"))
    one.close()
    two.close()
    loop.run()
    assert told in (["first"], ["second"])
    for sock in (*new, *[sock for pair in pairs for sock in pair]):
        sock.close()
