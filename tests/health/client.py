"""A plain HTTP client for the tests, from the standard library."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Long enough for a loaded machine; a test only ever waits this long when it fails.
PATIENCE_S = 30.0


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="NOT TESTED: this machine has no ::1")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded


def get(
    port: int, path: str = "/", *, host: str = "127.0.0.1", method: str = "GET", body: bytes | None = None
) -> Reply:
    connection = HTTPConnection(host, port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())


def refused(port: int, host: str = "127.0.0.1") -> bool:
    """Nobody listens there (or the machine has no such address)."""
    try:
        socket.create_connection((host, port), timeout=PATIENCE_S).close()
    except OSError as error:
        return error.errno in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return False


@contextlib.contextmanager
def taken_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that someone else listens on."""
    with socket.create_server((host, 0)) as other:
        yield other.getsockname()[1]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(taken_port()) for _ in range(count)]
