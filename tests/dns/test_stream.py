from __future__ import annotations

import pytest

from kproxy.dns.stream import MessageStream, Unframed, framed

MESSAGES = [bytes([number]) * (12 + number * 7) for number in range(5)]


def test_one_octet_at_a_time() -> None:
    stream = MessageStream()
    data = b"".join(map(framed, MESSAGES))
    assert [found for at in range(len(data)) for found in stream.feed(data[at : at + 1])] == MESSAGES


@pytest.mark.parametrize("cut", range(1, 60))
def test_any_two_pieces(cut: int) -> None:
    stream = MessageStream()
    data = b"".join(map(framed, MESSAGES))
    assert [*stream.feed(data[:cut]), *stream.feed(data[cut:])] == MESSAGES


@pytest.mark.parametrize("length", [0, 5, 11])
def test_what_is_shorter_than_a_header_is_no_message(length: int) -> None:
    with pytest.raises(Unframed):
        MessageStream().feed(length.to_bytes(2) + bytes(length))
