"""Messages on a TCP connection: two octets of length before each (RFC 1035 section 4.2.2). No I/O."""

from __future__ import annotations


class Unframed(Exception):
    """What came can't be the beginning of a DNS message: the connection is of no use any more."""


class MessageStream:
    """Takes octets in any pieces and gives whole messages. A message shorter than a header raises `Unframed`."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole now."""
        data = self._data + data if self._data else data
        at, end, found = 0, len(data), []
        while end - at >= 2:
            length = data[at] << 8 | data[at + 1]
            if length < 12:
                self._data = b""
                raise Unframed
            if end - at - 2 < length:
                break
            at += 2 + length
            found.append(data[at - length : at])
        self._data = data[at:]
        return found


def framed(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return len(message).to_bytes(2) + message
