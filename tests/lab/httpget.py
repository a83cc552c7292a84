"""One HTTP request from inside a namespace."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.run import scaled

if TYPE_CHECKING:
    from tests.lab.namespace import Namespace


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: str


def get(namespace: Namespace, address: str, port: int, path: str = "/", timeout_s: float = 2.0) -> Response:
    """GET http://address:port/path. Header names come back in lower case.

    Raises OSError when there is no connection, and HTTPException when what answers is not HTTP.
    """
    connection = http.client.HTTPConnection(address, port)
    sock = namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(scaled(timeout_s))
        sock.connect((address, port))
        connection.sock = sock
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, headers, answer.read().decode())
    finally:
        connection.close()
        sock.close()
