"""One connection to the API server and what goes over it: options, request heads, errors in words. Linux."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import h11

from kproxy import __version__
from kproxy.errors import one_line

if TYPE_CHECKING:
    from kproxy.kube.login import Login
    from kproxy.kube.requests import Request

READ_BYTES: Final = 256 * 1024
"""So much is read at once."""

TCP_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # A peer that is gone is noticed after 10 + 3 * 5 seconds.
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
)


async def connect(login: Login) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the server; a peer that is gone is noticed within half a minute. Raises OSError."""
    reader, writer = await asyncio.open_connection(
        login.host,
        login.port,
        ssl=login.tls,
        server_hostname=login.server_name if login.tls else None,
        limit=READ_BYTES,
        # An address needs none, and asyncio's race leaks the connection if it is cancelled just after it was won.
        happy_eyeballs_delay=None if _is_address(login.host) else 0.25,
    )
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is None:
        raise ConnectionResetError("the server ended the connection as soon as it was open")
    for level, option, value in TCP_OPTIONS:
        connection.setsockopt(level, option, value)
    return reader, writer


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def get_request(http: h11.Connection, login: Login, request: Request) -> bytes:
    """Return the bytes of a reflector's request."""
    target = f"{request.path}?{urlencode(request.query)}"
    return _head(http, login, "GET", target, []) + (http.send(h11.EndOfMessage()) or b"")


def post_request(http: h11.Connection, login: Login, path: str, body: bytes) -> bytes:
    """Return the bytes of a request that creates an object (JSON)."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    head = _head(http, login, "POST", path, headers)
    return head + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")


def _head(http: h11.Connection, login: Login, method: str, target: str, more: list[tuple[str, str]]) -> bytes:
    headers = [
        ("Host", login.authority),
        ("Accept", "application/json"),
        ("User-Agent", f"kproxy/{__version__}"),
        ("Connection", "close"),
        *more,
    ]
    if login.authorization:
        headers.append(("Authorization", login.authorization))
    return http.send(h11.Request(method=method, target=quote(login.base_path) + target, headers=headers)) or b""


def reason(error: BaseException) -> str:
    """Return an error in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return one_line(f"its certificate is not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return one_line(f"TLS: {error.reason or error}")
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio's own text is another
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror.lower())
    return one_line(str(error) or type(error).__name__)
